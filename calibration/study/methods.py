"""Which rule for ranges suits a model: all of them tried on images that no range comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from calibration.files import check_target, try_and_write
from calibration.ranges.cache import default_cache, find_ranges, provenance
from calibration.ranges.calibrate import METHODS
from calibration.ranges.images import calibration_images, held_out_images
from calibration.rewrite.mixes import Mixes
from calibration.study.accuracy import Judge, Score, judging_backend
from emca.cli import progress
from emca.errors import UserError
from runtime.backends import ModelFile

NOISE = 0.001  # of mIoU: less than the interval of a difference over 100 images is wide


def quantize_by_best(
    source: Path,
    target: Path,
    *,
    data: str,
    images: int,
    held_out: int,
    eval_data: str | None = None,
    backend: str = "auto",
    threads: int = 0,
    cache: Path | None = None,
) -> str:
    """Write the INT8 file with the ranges whose labels are best.

    Best is the highest mIoU; among methods within `NOISE` of it, the highest agreement with FP32.
    The table of all methods is printed and goes into the file's card. All ranges come from one
    pass over the images.

    Args:
        data, images, cache: as in `calibration.int8.quantize_file`.
        held_out, eval_data: how many images judge, and where from (`ranges.images.held_out`).
        backend, threads: what they are labelled with.

    Returns:
        As `calibration.int8.quantize_file`.

    Raises:
        UserError: as there; also too few images to judge by, or images without labels.
    """
    file = ModelFile.read_fp32(source)
    check_target(target, source)
    judging_backend(backend)
    mixes = Mixes(file.proto)
    if file.card.ranges.keys() >= mixes.tensors():
        raise UserError(
            f"{source} brings the ranges that its training learnt, there is nothing to compare; "
            "leave --compare-methods out"
        )
    chosen = calibration_images(file, data, images)
    others = held_out_images(file, chosen, held_out, eval_data=eval_data)
    cache = cache or default_cache(target, source)
    ranges = find_ranges(file, mixes, mixes.tensors(), chosen, list(METHODS), cache=cache)
    judge = Judge(file, others.samples, backend=backend, threads=threads)
    scores = {}
    for method in progress(METHODS, desc="methods"):
        mixes.ranges = ranges[method]
        scores[method] = judge.score(judge.load(mixes.build()))
    best = best_of(scores)
    print(table(scores, judge.reference, best, f"{len(others.samples)} images of {others.data}"))
    mixes.ranges = ranges[best]
    for line in mixes.remarks():
        print(line)
    calibration = {
        **provenance(file, mixes.tensors(), best),
        "held_out": others.describe(),
        "judged_on": judge.backend,
        "fp32_miou": judge.reference.miou,
        "methods": {name: [score.miou, score.agreement] for name, score in scores.items()},
    }
    return try_and_write(
        mixes.build(), target, file, chosen, precision="int8", calibration=calibration
    )


def best_of(scores: Mapping[str, Score]) -> str:
    """The method to take."""
    highest = max(score.miou for score in scores.values())
    near = [method for method, score in scores.items() if score.miou >= highest - NOISE]
    return max(near, key=lambda method: (scores[method].agreement, scores[method].miou))


def table(scores: dict[str, Score], reference: Score, best: str, where: str) -> str:
    """The methods side by side; the one that was taken has a mark."""
    lines = [f"{'method':<12}{'mIoU %':>8}{'Δ points':>10}{'same labels %':>15}   ({where})"]
    for method, score in scores.items():
        delta = 100 * (score.miou - reference.miou)
        taken = "   taken" if method == best else ""
        agreement = f"{100 * score.agreement:>15.3f}"
        lines.append(f"{method:<12}{100 * score.miou:>8.2f}{delta:>+10.2f}{agreement}{taken}")
    return "\n".join(lines)
