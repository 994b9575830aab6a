"""Prove that model files label as a reference does, or refuse to certify them.

python -m runtime.certify REFERENCE CANDIDATE… --data SPEC [--backend B] [-o DIR]

REFERENCE is normally the FP32 .onnx, each CANDIDATE an .onnx of any precision or an .engine. Each
gets CANDIDATE.certificate.json and CANDIDATE.certificate.html beside it, or in DIR. The exit code
is 0 when all are certified, 1 when one is not and 2 on bad input.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emca.cli import run
from emca.errors import UserError
from emca.files import atomic_path, sha256
from runtime.accuracy.batches import BatchCheck, check_batches
from runtime.accuracy.counts import (
    CONFIDENCE,
    Counts,
    Floats,
    draws,
    iou_differences,
)
from runtime.accuracy.labelling import check_files, legend, measure, notes, worst_images
from runtime.accuracy.verdict import Thresholds, Verdict, judge, table
from runtime.backends import Backend, is_engine, load
from runtime.certify_html import page
from runtime.certify_options import Options, command_options, read
from runtime.results import machine
from runtime.results.output import json_output, origin
from segdata.datasets import Dataset, open_dataset

Write = Callable[[dict[str, Any], str], None]


@dataclass(frozen=True)
class _Setting:
    """What the candidates of one call share."""

    reference: Backend
    counts: Counts
    weights: Floats
    dataset: Dataset
    images: int
    thresholds: Thresholds
    options: Options
    origin: dict[str, Any]


def certify(
    reference: Path,
    candidates: Sequence[Path],
    *,
    data: str,
    thresholds: Thresholds | None = None,
    options: Options | None = None,
    out: Path | None = None,
    command: str = "",
) -> list[Verdict]:
    """Measure the candidates against the reference and write a certificate for each.

    Args:
        data: a data set as in `segdata.datasets`.
        out: the folder of the certificates; None puts each beside its candidate.
        command: the command line that asks for it, for the record.

    Raises:
        UserError: files, data, classes or outputs that do not fit; nothing is written then.
    """
    options, thresholds = options or Options(), thresholds or Thresholds()
    targets = _targets(candidates, out)
    dataset = open_dataset(data, labels=options.labelled)
    with ExitStack() as stack:
        first, *others = (_opened(path, options, stack) for path in (reference, *candidates))
        check_files(first, others, dataset if options.labelled else None)
        writers = [stack.enter_context(_claimed(target)) for target in targets]
        images = min(options.limit or len(dataset), len(dataset))
        expected, *found = measure(first, others, dataset, images, options.boundary)
        weights = draws(images, resamples=options.resamples, seed=options.seed)
        setting = _Setting(
            *(first, expected, weights, dataset, images, thresholds, options, origin(command))
        )
        return [
            _certificate(setting, candidate, counts, target, write)
            for candidate, counts, target, write in zip(
                others, found, targets, writers, strict=True
            )
        ]


def _certificate(
    setting: _Setting, candidate: Backend, counts: Counts, target: Path, write: Write
) -> Verdict:
    reference, options, dataset = setting.reference, setting.options, setting.dataset
    batches = check_batches(candidate, dataset, setting.images, options.batches)
    checks = judge(
        setting.counts,
        counts,
        setting.weights,
        thresholds=setting.thresholds,
        batches=batches,
        classes=candidate.card.classes,
        boundary=options.boundary,
        labelled=options.labelled,
    )
    source = sha256(reference.path)
    names = dataset.names[: setting.images]
    lines = [check.doubt for check in checks if check.doubt]
    lines += notes(
        *(reference, candidate, dataset.spec, names),
        labelled=options.labelled,
        reference_sha256=source,
    )
    verdict = Verdict(candidate.path, tuple(checks), tuple(lines), target, _page_of(target))
    panels, present = worst_images(reference, candidate, dataset, counts, options.worst)
    content = {
        **setting.origin,
        "certified": verdict.certified,
        "missed": verdict.missed,
        "reference": _file(reference, source),
        "candidate": _file(candidate, sha256(candidate.path)),
        "data": dataset.spec,
        "images": setting.images,
        "labelled": options.labelled,
        "confidence": CONFIDENCE,
        **{key: getattr(options, key) for key in ("resamples", "seed", "boundary", "threads")},
        "thresholds": asdict(setting.thresholds),
        "checks": [check.to_dict() for check in checks],
        "batches": _batches(batches),
        "classes": list(candidate.card.classes),
        "iou": _iou(setting, candidate, counts) if options.labelled else [],
        "worst": [
            {"image": names[int(k)], "agreement": float(counts.agreement[k])}
            for k in counts.agreement.argsort(kind="stable")[: options.worst]
        ],
        "notes": lines,
    }
    text = page(
        content,
        palette=candidate.card.palette,
        panels=panels,
        present=present,
        legend=legend(options.labelled),
    )
    write(content, text)
    return verdict


def _iou(setting: _Setting, candidate: Backend, counts: Counts) -> list[dict[str, Any]]:
    """Of each class the IoU by both, 0..1, and the difference in points with its interval."""
    points = [one.scaled(100) for one in iou_differences(setting.counts, counts, setting.weights)]
    rows = zip(candidate.card.classes, setting.counts.iou, counts.iou, points, strict=True)
    return [
        {
            "name": name,
            "reference": _known(expected),
            "candidate": _known(found),
            "delta": delta.value,
            "low": delta.low,
            "high": delta.high,
        }
        for name, expected, found, delta in rows
    ]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _batches(check: BatchCheck) -> dict[str, Any]:
    return {"text": check.text, **asdict(check)}


def _file(backend: Backend, fingerprint: str) -> dict[str, Any]:
    return {
        "path": str(backend.path),
        "sha256": fingerprint,
        "precision": backend.card.precision,
        "backend": backend.name,
        "input": list(backend.input_shape),
    }


def _opened(path: Path, options: Options, stack: ExitStack) -> Backend:
    name = "auto" if is_engine(path) else options.backend
    backend = load(path, name, threads=options.threads)
    stack.callback(backend.close)
    return backend


def _targets(candidates: Sequence[Path], out: Path | None) -> list[Path]:
    """The JSON of each certificate.

    Raises:
        UserError: `out` is a file, or two certificates would have one name.
    """
    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give a folder to write to")
    found: dict[Path, Path] = {}
    for candidate in candidates:
        target = (out or candidate.parent) / f"{candidate.name}.certificate.json"
        if target in found:
            raise UserError(
                f"{found[target]} and {candidate} would share {target}; certify each once, or "
                "those of one name in calls of their own"
            )
        found[target] = candidate
    return list(found)


def _page_of(target: Path) -> Path:
    return target.with_suffix(".html")


@contextmanager
def _claimed(target: Path) -> Iterator[Write]:
    """Writes both files of a certificate, which take their names together at the end."""
    with json_output(target) as write_json, atomic_path(_page_of(target)) as temporary:
        temporary.touch()

        def write(content: dict[str, Any], text: str) -> None:
            write_json(content)
            temporary.write_text(text, encoding="utf-8")

        yield write


def main(argv: list[str] | None = None) -> int:
    """The command line; see the top of this file. Returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    args = command_options().parse_args(words)
    thresholds, options = read(args)
    verdicts = certify(
        args.reference,
        args.candidates,
        data=args.data,
        thresholds=thresholds,
        options=options,
        out=args.output,
        command=machine.command_line("runtime.certify", words),
    )
    for verdict in verdicts:
        print(f"\n{verdict.candidate} against {args.reference}, {args.data}\n")
        print(table(verdict.checks), *verdict.notes, verdict.html, verdict.text, sep="\n")
    return 0 if all(verdict.certified for verdict in verdicts) else 1


if __name__ == "__main__":
    run(main)
