"""The fastest INT8/FP16 mix within an accuracy budget.

python -m calibration.search MODEL.onnx --data SPEC --max-drop 0.5 [--latency measured|estimated]

Writes MODEL.mixed.onnx; beside it, as .json and as a picture, what stays where and why, and the
curve of accuracy over latency. Where no mix keeps within the drop, the exit code is 1 and none of
them is written. Until the end scores are kept in .scores.json, from which a broken run goes on.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from calibration import pictures
from calibration.estimate.devices import DEFAULT_DEVICE, DEVICES, find_device
from calibration.files import check_target, default_target, write
from calibration.study.accuracy import Score
from calibration.study.block_costs import Mix, score_all
from calibration.study.choice import choose
from calibration.study.latency import Clock, EngineShop, Estimate, Stopwatch
from calibration.study.result import Result, curve, document, report
from calibration.study.score_file import read_scores, to_dict, to_list
from calibration.study.study import Study, add_options, open_study
from emca.cli import Parser, run
from emca.errors import UserError
from runtime.accuracy.verdict import Thresholds
from runtime.backends import ENGINE_BACKENDS
from runtime.backends import choose as choose_backend
from runtime.certify import certify
from runtime.certify_options import Options
from runtime.results import machine
from runtime.results.output import json_output, origin
from segdata.datasets import open_dataset

MAX_DROP = 0.5

Save = Callable[[Mapping[Mix, Score]], None]


def search(
    study: Study, clock: Clock, *, max_drop: float, known: Mapping[Mix, Score], save: Save
) -> Result:
    """Search the mixes of a study.

    Args:
        max_drop: points of mIoU that may be lost against FP32 on the held-out images.
        known: scores from before (`calibration.study.score_file`).
        save: called with all scores after each one that is new.
    """
    scores = dict(known)

    def score(mixes: Sequence[Mix], desc: str = "mixes") -> Mapping[Mix, Score]:
        scores.update(
            score_all(mixes, study.mixes, study.judge, known=scores, save=save, desc=desc)
        )
        return {mix: scores[mix] for mix in mixes}

    usual = study.mixes.usual
    singles: list[Mix] = [frozenset({block}) for block in usual]
    found = score(singles, "each block alone")
    alone = {block: found[mix] for block, mix in zip(usual, singles, strict=True)}
    choice = choose(
        usual,
        {block: 1 - score.agreement for block, score in alone.items()},
        score=score,
        latency=clock.latencies,
        lowest=study.judge.reference.miou - max_drop / 100,
        noise=lambda: clock.noise,
        worth=clock.worth,
    )
    return Result(study, choice, alone, scores, max_drop, clock.fp32(), clock)


def search_file(args: argparse.Namespace, command: str) -> int:
    """Search, print, and write the model, the JSON and the picture; the exit code."""
    target = args.output or default_target(args.model, "mixed")
    table, partial = target.with_suffix(".json"), target.with_suffix(".scores.json")
    _check(args, target)
    for path in (table, partial):
        read_scores(path, {})  # nothing else may stand there
    if why := pictures.missing():
        print(why)
    study = open_study(args, target)
    known = _known((table, partial, args.model.with_suffix(".sensitivity.json")), study)
    about = origin(command) | {"threads": args.threads, "calibration": study.calibration}
    key = {"key": study.key, "fp32": to_dict(study.judge.reference)}

    def save(scores: Mapping[Mix, Score]) -> None:
        with json_output(partial) as write:
            write(about | key | {"scores": to_list(scores)})

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        clock = _clock(args, study, Path(folder))
        result = search(study, clock, max_drop=args.max_drop, known=known, save=save)
    about["seconds"] = round(time.monotonic() - began, 1)
    about["scores_known_before"] = len(known)
    print(f"\n{report(result)}\n")
    if result.choice.best is None:
        return 1
    _write(result, target)
    with json_output(table) as write_json:
        write_json(about | key | document(result) | {"scores": to_list(result.scores)})
    partial.unlink(missing_ok=True)
    if not why:
        _draw(result, target.with_suffix(""))
    print(f"{target}, {table}")
    return _certify(args, target, command) if args.certify else 0


def _known(paths: Sequence[Path], study: Study) -> dict[Mix, Score]:
    """Scores of earlier runs, of this command or of calibration.sensitivity."""
    known: dict[Mix, Score] = {}
    for path in paths:
        scores, remark = read_scores(path, study.key)
        known |= scores
        if remark:
            print(remark)
    return known


def _check(args: argparse.Namespace, target: Path) -> None:
    if not 0 <= args.max_drop <= 100:
        raise UserError(f"--max-drop={args.max_drop:g} is out of range; give 0 to 100 points")
    check_target(target, args.model)
    if args.latency == "estimated" and args.time_on:
        raise UserError(f"--time-on={args.time_on} measures; leave out --latency=estimated")
    find_device(args.device)
    if args.time_on:
        choose_backend(args.time_on)
    if args.certify:
        open_dataset(args.certify)


def _clock(args: argparse.Namespace, study: Study, folder: Path) -> Clock:
    mixes, source = study.mixes, study.file.proto
    if args.latency == "estimated":
        return Estimate(mixes, source, find_device(args.device))
    name = args.time_on or study.judge.backend
    if name in ENGINE_BACKENDS:
        shop = EngineShop(study.file, name, folder)
        return Stopwatch(mixes, source, study.judge.samples[0], open=shop, what=name)
    return Stopwatch(mixes, source, study.judge.samples[0], open=study.judge.load, what=name)


def _write(result: Result, target: Path) -> None:
    study, mix = result.study, result.choice.best
    assert mix is not None
    how = {
        **study.calibration,
        "int8": sorted(mix),
        "max_drop_points": result.max_drop,
        "held_out": study.key["held_out"],
        "judged_on": study.judge.backend,
        "timed_by": result.clock.what,
    }
    model = study.mixes.build(mix)
    if mix:
        write(model, target, study.file, precision="int8", calibration=how)
    else:  # without ranges
        write(model, target, study.file, precision="fp16")


def _draw(result: Result, stem: Path) -> None:
    pictures.draw_curve(
        curve(result),
        stem,
        caption=result.study.caption,
        chosen=result.name,
        limit=result.lowest,
        latency=result.clock.what,
    )


def _certify(args: argparse.Namespace, target: Path, command: str) -> int:
    thresholds = Thresholds(max_drop=args.max_drop)
    options = Options(backend=args.backend, threads=args.threads)
    verdicts = certify(
        args.model,
        [target],
        data=args.certify,
        thresholds=thresholds,
        options=options,
        command=command,
    )
    for verdict in verdicts:
        print(f"{verdict.text}: {verdict.html}")
    return 0 if all(verdict.certified for verdict in verdicts) else 1


def main(argv: list[str] | None = None) -> int:
    """The command line; see the top of this file."""
    parser = Parser(
        prog="python -m calibration.search",
        description="The fastest INT8/FP16 mix within an accuracy budget.",
    )
    add_options(parser)
    add = parser.add_argument
    add("--max-drop", type=float, default=MAX_DROP, metavar="POINTS",
        help="mIoU that may be lost against FP32 (default %(default)s)")  # fmt: skip
    add("--latency", choices=("measured", "estimated"), default="measured",
        help="measured (default), or estimated for the --device")  # fmt: skip
    add("--time-on", metavar="BACKEND",
        help=f"measure elsewhere than on --backend, such as on {ENGINE_BACKENDS[0]}")  # fmt: skip
    add("--device", default=DEFAULT_DEVICE,
        help=f"to estimate for: {', '.join(DEVICES)} (default %(default)s)")  # fmt: skip
    add("--certify", metavar="SPEC",
        help="then run runtime.certify on these data, whose refusal is exit code 1")  # fmt: skip
    add("-o", "--output", type=Path, help="default: MODEL.mixed.onnx")
    words = sys.argv[1:] if argv is None else argv
    return search_file(parser.parse_args(words), machine.command_line("calibration.search", words))


if __name__ == "__main__":
    run(main)
