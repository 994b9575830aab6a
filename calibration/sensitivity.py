"""What INT8 costs in each block: `python -m calibration.sensitivity MODEL.onnx --data SPEC`.

Every block is quantised alone, and left out of the INT8 file alone; images that no range comes
from judge. The table is printed, and everything written as MODEL.sensitivity.json, with the bars
beside it as .png and .svg. A run that was broken off goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calibration import pictures
from calibration.study.accuracy import Score
from calibration.study.block_costs import BlockCost, Mix, Sensitivity, runs, sensitivity
from calibration.study.score_file import read_scores, to_dict, to_list
from calibration.study.study import Study, add_options, open_study
from emca.cli import Parser, run
from emca.errors import UserError
from emca.files import beside
from runtime.comparison.rows import aligned, points
from runtime.results import machine
from runtime.results.output import json_output, origin

SAME = "same labels %"  # as FP32


def study_sensitivity(args: argparse.Namespace, command: str) -> None:
    """Judge what no earlier run has judged, print the table, write JSON and picture."""
    target = args.output or beside(args.model, ".sensitivity.json")
    if target.suffix != ".json" or target.is_dir():
        raise UserError(f"-o {target} is no name of a JSON file; give one that ends in .json")
    read_scores(target, {})  # what is no such file is refused before the work
    if why := pictures.missing():
        print(why)
    study = open_study(args, target)
    known, remark = read_scores(target, study.key)
    if remark:
        print(remark)
    about = origin(command) | {"threads": args.threads, "calibration": study.calibration}

    def save(scores: Mapping[Mix, Score], found: Sensitivity | None = None) -> None:
        with json_output(target) as write:
            write(about | _document(study, scores, found))

    found = sensitivity(study.mixes, study.judge, known=known, save=save)
    save(found.scores, found)
    print(f"\n{table(found)}\n\n{target}")
    if not why:
        stem = target.with_suffix("")
        print(*pictures.draw_sensitivity(found.blocks, stem, caption=study.caption), sep="\n")


def table(found: Sensitivity) -> str:
    """The blocks, the costliest first: by agreement, which few images measure better than mIoU."""
    versions = (("FP32", found.fp32), ("FP16", found.fp16), ("INT8", found.int8))
    whole = aligned(
        ("version", "mIoU %", SAME),
        [(name, f"{100 * score.miou:.2f}", _percent(score)) for name, score in versions],
    )
    lines = []
    for cost in sorted(found.blocks, key=lambda cost: cost.alone.agreement):
        change = cost.gain if cost.is_usual else -cost.gain
        name = cost.block + ("" if cost.is_usual else "*")
        own = points(cost.loss.miou), _percent(cost.alone)
        rest = points(change.miou), _percent(cost.switched)
        lines.append((name, str(cost.layers), *own, *rest))
    blocks = aligned(("block", "layers", "alone Δ", SAME, "left out Δ", SAME), lines)
    notes = "Δ in points of mIoU, alone against FP16, left out against INT8."
    if any(not cost.is_usual for cost in found.blocks):
        notes += "\n* in FP16 unless asked for; right: added to INT8."
    return "\n\n".join((whole, blocks, notes))


def _percent(score: Score) -> str:
    return f"{100 * score.agreement:.3f}"


def _document(
    study: Study, scores: Mapping[Mix, Score], found: Sensitivity | None
) -> dict[str, Any]:
    """The result for JSON; what is known so far where nothing is `found` yet."""
    wanted = runs(study.mixes)
    content: dict[str, Any] = {
        "key": study.key,
        "runs": len(wanted),
        "done": sum(mix in scores for mix in wanted),
        "fp32": to_dict(study.judge.reference),
    }
    if found:
        content |= {"fp16": to_dict(found.fp16), "int8": to_dict(found.int8)}
        content["blocks"] = [_block(cost) for cost in found.blocks]
    return content | {"scores": to_list(scores)}


def _block(cost: BlockCost) -> dict[str, Any]:
    return {
        "block": cost.block,
        "layers": cost.layers,
        "alone": {"miou": cost.alone.miou, "agreement": cost.alone.agreement},
        "left_out" if cost.is_usual else "added": {
            "miou": cost.switched.miou, "agreement": cost.switched.agreement
        },
        "loss_points": {"miou": -cost.loss.miou, "agreement": -cost.loss.agreement},
        "gain_points": {"miou": cost.gain.miou, "agreement": cost.gain.agreement},
    }  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """The command line; see the top of this file."""
    parser = Parser(
        prog="python -m calibration.sensitivity", description="What INT8 costs in each block."
    )
    add_options(parser)
    parser.add_argument("-o", "--output", type=Path, help="default: MODEL.sensitivity.json")
    words = sys.argv[1:] if argv is None else argv
    study_sensitivity(
        parser.parse_args(words), machine.command_line("calibration.sensitivity", words)
    )


if __name__ == "__main__":
    run(main)
