"""Train, export and compare a set of configurations with one command.

python -m runtime.sweep SET.yaml [key=value …] -o DIR [--fp16] [--int8]

SET.yaml, or the name of a set that comes with the training code, says what varies:

    base: demo                         # a preset or a YAML file of python -m train
    data: "scenes:n=64,size=192x384:val"   # labelled images for the comparison
    set: {iterations: 200}             # for all variants; key=value of the command line goes before
    variants:
      EMCA: []
      mean prototype: [model.prototype=mean]

DIR/NAME holds the run of a variant, DIR/compare.md the comparison, DIR/sweep.json both in one.
The command may be interrupted and repeated: what is finished is not done again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emca.cli import Parser, run
from emca.errors import UserError
from emca.files import sha256
from runtime import compare, plot
from runtime.backends import ENGINE_BACKENDS, ModelFile, choose
from runtime.bench_options import add_measuring_options, check_measuring
from runtime.comparison.sweep_set import SweepSet, read_set
from runtime.evaluate import check_classes
from runtime.results import machine
from runtime.results.output import json_output, origin
from segdata.datasets import open_dataset

RECORD = "variant.json"  # in the folder of a variant, once it is trained


class ChildFailed(Exception):
    """A command that a variant needs has failed and said why."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Finished:
    """What a variant was trained with: as long as that holds, it is not trained again.

    Attributes:
        words: the arguments of python -m train, without its folder.
        base_sha256: of the file of the base, or empty where it is none.
        checkpoint_sha256: of model.pth.
        seconds: that the training command took which finished it.
    """

    words: list[str]
    base_sha256: str
    checkpoint_sha256: str
    seconds: float


def sweep(args: argparse.Namespace, command: str) -> None:
    """Train and export every variant, compare them, write DIR/sweep.json.

    Raises:
        UserError: a set, data or options that cannot be used.
        ChildFailed: training or export has failed.
    """
    plan = read_set(args.set, args.overrides)
    data = args.data or plan.data
    if data is None:
        raise UserError(f'{plan.path} names no images to compare on; add "data: NAME:PATH:SPLIT"')
    dataset = open_dataset(data)
    if choose(args.backend) in ENGINE_BACKENDS:
        raise UserError(
            f"--backend={args.backend} runs engines and a sweep makes ONNX files; take another one "
            "here and build engines of them afterwards with python -m runtime.build"
        )
    plot.require()
    with json_output(args.output / "sweep.json") as write:
        began = time.monotonic()
        done: dict[str, Finished] = {}
        for place, name in enumerate(plan.variants, start=1):
            folder = args.output / name
            say = _teller(f"[{place}/{len(plan.variants)}] {name}", began)
            done[name] = trained(plan, name, folder, say)
            exported(folder, say)
            check_classes(ModelFile.read(folder / "model.onnx"), dataset)  # not after the last only
        models = [f"{name}={args.output / name / 'model.onnx'}" for name in done]
        compare.main([*models, f"--data={data}", "-o", str(args.output), *_options(args)])
        result = json.loads((args.output / f"{compare.STEM}.json").read_text(encoding="utf-8"))
        own = {name: list(plan.variants[name]) for name in done}
        write(
            origin(command)
            | {
                "set": str(plan.path),
                "base": plan.base,
                "data": data,
                "common_overrides": list(plan.common),
                "variants": [
                    {"name": name, "overrides": own[name], **asdict(record)}
                    for name, record in done.items()
                ],
                "rows": [{**row, "overrides": own[row["model"]]} for row in result["rows"]],
                "models": result["models"],
            }
        )


def trained(plan: SweepSet, name: str, folder: Path, say: Callable[[str], None]) -> Finished:
    """Train a variant to the end, or find that this was done before."""
    words = [plan.base, *plan.overrides(name)]
    checkpoint, record = folder / "model.pth", folder / RECORD
    base = sha256(plan.base_file) if plan.base_file else ""
    before = _read_record(record)
    if before and checkpoint.is_file():
        expected = Finished(words, base, sha256(checkpoint), before.seconds)
        if before == expected:
            say("trained before")
            return before
    say(f"training {shlex.join(plan.variants[name])}".rstrip())
    began = time.monotonic()
    # Its last line says what to do next, which is done here.
    _child("train", *words, "--out", str(folder), "--resume", stdout=subprocess.DEVNULL)
    seconds = round(time.monotonic() - began, 1)
    finished = Finished(words, base, sha256(checkpoint), seconds)
    with json_output(record) as write:
        write(asdict(finished))
    return finished


def exported(folder: Path, say: Callable[[str], None]) -> None:
    """Export a variant's checkpoint unless its ONNX file was made from that very checkpoint."""
    checkpoint, target = folder / "model.pth", folder / "model.onnx"
    if target.exists() and ModelFile.read(target).card.checkpoint_sha256 == sha256(checkpoint):
        say("exported before")
        return
    say("exporting")
    _child("export.to_onnx", str(checkpoint), "-o", str(target))


def _child(module: str, *words: str, stdout: int | None = None) -> None:
    """Run a command of the project in a process of its own; its errors go to the terminal.

    Raises:
        UserError: it was killed and could not say so itself.
        ChildFailed: it stopped after it had said why.
    """
    code = subprocess.run(
        [sys.executable, "-m", module, *words], stdout=stdout, check=False
    ).returncode
    if code < 0:
        raise UserError(
            f"python -m {module} {shlex.join(words)} was killed by signal {-code}; "
            "with less memory in use, the same command goes on where this one stopped"
        )
    if code:
        raise ChildFailed(code)


def _read_record(path: Path) -> Finished | None:
    """What was noted about a variant; None where nothing was, or nothing that can be read."""
    try:
        return Finished(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _teller(head: str, began: float) -> Callable[[str], None]:
    """A function that prints what is done now and how long everything has taken."""

    def say(what: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - began), 60)
        print(f"{head}: {what} ({minutes}:{seconds:02} elapsed)", flush=True)

    return say


def _options(args: argparse.Namespace) -> list[str]:
    """The options of the comparison that were given, as words."""
    given: Mapping[str, Any] = vars(args)
    names = ("calibData", "limit", "backend", "threads", "iterations", "warmUp", "duration")
    flags = [f"--{name}" for name in ("fp16", "int8") if given[name]]
    return flags + [f"--{name}={given[name]}" for name in names if given[name] is not None]


def _intermixed(words: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="python -m runtime.sweep", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("set", metavar="SET", help="a YAML file, or the name of a set")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for all variants")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    add_measuring_options(parser)
    return parser.parse_intermixed_args(words)


def main(argv: list[str] | None = None) -> int:
    """The command line; see the top of this file."""
    words = sys.argv[1:] if argv is None else argv
    args = _intermixed(words)
    check_measuring(args)
    try:
        sweep(args, machine.command_line("runtime.sweep", words))
    except ChildFailed as error:
        return error.code
    return 0


if __name__ == "__main__":
    run(main)
