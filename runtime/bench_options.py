"""The options of runtime.bench, spelled as in NVIDIA's trtexec wherever it has them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from emca.cli import Parser
from emca.errors import UserError
from runtime.backends import BACKENDS, ENGINE_BACKENDS, GPU_BACKENDS, is_engine
from runtime.backends.base import INPUT_NAME
from runtime.backends.engine_file import json_path
from runtime.engines.options import add_build_options, refuse_build_options
from runtime.timing.trtexec import OTHERS, REST

MOST_STREAMS = 256
OUTPUTS = ("exportTimes", "exportTable", "exportProfile", "exportOutput", "exportLayerInfo")
MEASURING = (*OUTPUTS, "dumpProfile", "dumpLayerInfo")
ENGINES_ONLY = ("saveEngine", "noCudaGraph", "includeDataTransfers", "dynamicPlugins")


def add_measuring_options(parser: Parser) -> None:
    """The options of every command that times and scores models; see `check_measuring`."""
    add = parser.add_argument
    add("--fp16", action="store_true", help="measure MODEL.fp16.onnx too, made when missing")
    add("--int8", action="store_true", help="measure MODEL.int8.onnx too, made when missing")
    add("--data", metavar="NAME:PATH[:SPLIT]", help="labelled images for the accuracy")
    add("--calibData", metavar="NAME:PATH[:SPLIT]", help="images for INT8 ranges (default: --data)")
    add("--limit", type=int, metavar="N", help="accuracy on the first N images only")
    add("--backend", default="auto", help=f"auto, {', '.join(BACKENDS)}")
    add("--threads", type=int, default=0, metavar="N", help="CPU threads, 0 = every core")
    add("--iterations", type=int, default=10, metavar="N", help="queries at least (default 10)")
    add("--warmUp", type=float, default=200, metavar="MS", help="uncounted ms (default 200)")
    add("--duration", type=float, default=3, metavar="S", help="seconds at least (default 3)")


def check_measuring(args: argparse.Namespace) -> None:
    """UserError where a number of `add_measuring_options` is out of its range."""
    _check_least(args, {"limit": 1, "threads": 0, "iterations": 1, "warmUp": 0, "duration": 0})


def bench_parser(description: str) -> Parser:
    """The command line of runtime.bench; see `check_bench`."""
    parser = Parser(prog="python -m runtime.bench", description=description)
    add = parser.add_argument
    add("--onnx", type=Path, metavar="MODEL", help="the FP32 file, or an engine")
    add("--loadEngine", type=Path, metavar="FILE", help="an engine instead")
    add("--saveEngine", type=Path, metavar="FILE",
        help="where to put the engine of the format that is asked for")  # fmt: skip
    add_measuring_options(parser)
    add("--shapes", dest="shape", metavar="SPEC",
        help=f"what to run, such as {INPUT_NAME}:4x512x512x3")  # fmt: skip
    add("--infStreams", type=int, default=1, metavar="N", help="queries at once (default 1)")
    add("--noCudaGraph", action="store_true", help="launch the layers of engines one by one")
    add("--includeDataTransfers", action="store_true",
        help="copy images to and labels from the GPU with every query")  # fmt: skip
    add("--buildOnly", action="store_true", help="build the engines, print their layers and stop")
    _add_reports(parser)
    add_build_options(parser)
    return parser


def _add_reports(parser: Parser) -> None:
    add = parser.add_argument_group("reports").add_argument
    add("--avgRuns", type=int, default=10, metavar="N", help="queries an average (default 10)")
    add("--percentile", type=_percentiles, default="90,95,99", metavar="P1,P2,…")
    add("--dumpProfile", action="store_true", help="what each layer takes, in a run of its own")
    add("--dumpLayerInfo", action="store_true", help="the layers that are run")
    add("--exportProfile", type=Path, metavar="FILE", help="what each layer takes, as JSON")
    add("--exportLayerInfo", type=Path, metavar="FILE", help="the layers that are run, as JSON")
    add("--exportTimes", type=Path, metavar="FILE", help="every query as JSON")
    add("--exportOutput", type=Path, metavar="FILE", help="the outputs of one query as JSON")
    add("--exportTable", type=Path, metavar="FILE", help="the parity table as JSON")


def refuse_others(words: Sequence[str]) -> None:
    """UserError for an option of trtexec that this command does not have; it says what to do."""
    for word, following in pairwise([*words, "--"]):
        option, _, value = word.partition("=")
        remedy = OTHERS.get(option) or ("leave it out" if option in REST else "")
        if word == "--threads" and following.startswith("--"):
            remedy = "each of --infStreams=N has a thread; --threads=N are those of a CPU"
        elif option == "--plugins" and (value or following).endswith(".so"):
            remedy = f"give --dynamicPlugins={value or following}"
        if remedy:
            raise UserError(f"{word}: trtexec has it, this command does not; {remedy}")


def check_bench(args: argparse.Namespace) -> None:
    """Settle on one model, `args.onnx`, and refuse what contradicts it.

    Raises:
        UserError: no model or two, a number out of its range, an option that means nothing for
            the model or the backend, or an output that would replace a file that is read.
    """
    if args.onnx and args.loadEngine:
        raise UserError(
            f"--onnx={args.onnx} and --loadEngine={args.loadEngine} are two models; give one"
        )
    if args.loadEngine and not is_engine(args.loadEngine):
        raise UserError(
            f"--loadEngine={args.loadEngine} is no .engine or .plan; give --onnx={args.loadEngine}"
        )
    args.onnx = args.onnx or args.loadEngine
    if args.onnx is None:
        raise UserError("no model is given; add --onnx=MODEL.onnx or --loadEngine=MODEL.engine")
    check_measuring(args)
    _check_least(args, {"avgRuns": 1, "infStreams": 1, "device": 0})
    if args.infStreams > MOST_STREAMS:
        raise UserError(f"--infStreams={args.infStreams} is too many; take 1 to {MOST_STREAMS}")
    _check_without_effect(args)
    _check_outputs(args)
    if args.buildOnly:
        _check_build_only(args)
    elif args.backend not in ENGINE_BACKENDS or is_engine(args.onnx):
        refuse_build_options(args)
    if not is_engine(args.onnx) and args.backend not in ENGINE_BACKENDS:
        _refuse_on_other_backends(args)
    if args.saveEngine:
        _check_save(args)
    if args.shape is not None and not args.shapes and args.backend in ENGINE_BACKENDS:
        args.shapes = [("--shapes", args.shape)]  # built for what is run, as in trtexec


def _check_build_only(args: argparse.Namespace) -> None:
    if is_engine(args.onnx):
        raise UserError(f"{args.onnx} is an engine; leave --buildOnly out or give an ONNX file")
    if args.backend not in ENGINE_BACKENDS:
        raise UserError(
            "--buildOnly builds engines; add --backend=" + " or --backend=".join(ENGINE_BACKENDS)
        )
    for name in MEASURING:
        if getattr(args, name):
            raise UserError(f"--buildOnly measures nothing; leave --{name} out")


def _refuse_on_other_backends(args: argparse.Namespace) -> None:
    on_gpu = args.backend in GPU_BACKENDS
    given = [name for name in ENGINES_ONLY if getattr(args, name)]
    given += ["device"] if args.device is not None and not on_gpu else []
    if given:
        what = "picks a GPU" if given[0] == "device" else "is for engines"
        raise UserError(
            f"--{given[0]} {what}; leave it out, or add --backend="
            + " or --backend=".join(ENGINE_BACKENDS)
        )


def _check_save(args: argparse.Namespace) -> None:
    target = args.saveEngine
    if is_engine(args.onnx):
        raise UserError(f"{args.onnx} is an engine already; leave --saveEngine={target} out")
    if not is_engine(target):
        raise UserError(f"--saveEngine={target}: give the engine a name that ends in .engine")
    if args.fp16 and args.int8:
        raise UserError(
            f"--saveEngine={target} names one engine and --fp16 --int8 ask for two; leave one out"
        )


def _check_outputs(args: argparse.Namespace) -> None:
    """No output may replace a file that is read, an engine, or another output."""
    taken = {path.resolve(): what for path, what in _files(args)}
    for name in OUTPUTS:
        path = getattr(args, name)
        if path is None:
            continue
        if (what := taken.get(path.resolve())) is not None:
            raise UserError(f"--{name}={path} is {what} too; give another name")
        taken[path.resolve()] = f"--{name}"


def _files(args: argparse.Namespace) -> Iterator[tuple[Path, str]]:
    """What the command reads and makes beside its outputs, and what each is."""
    models = {args.onnx: "the model"}
    for name in ("fp16", "int8"):
        if getattr(args, name):
            from calibration.files import default_target

            models[default_target(args.onnx, name)] = f"the file of --{name}"
    yield from models.items()
    if is_engine(args.onnx):
        yield json_path(args.onnx), "the description of the engine"
    elif args.backend in ENGINE_BACKENDS:
        from runtime.build import default_target as default_engine

        engines = [default_engine(model, args.backend) for model in models]
        for engine in (*engines, *filter(None, [args.saveEngine])):
            yield engine, "an engine"
            yield json_path(engine), "the description of an engine"
    if args.timingCacheFile:
        yield args.timingCacheFile, "the timing cache"
    for library in args.dynamicPlugins:
        yield library, "a plugin library"


def _check_without_effect(args: argparse.Namespace) -> None:
    """UserError for options that nothing would come of."""
    if args.limit is not None and not args.data:
        raise UserError(f"--limit={args.limit} counts images of --data; give both or neither")
    if args.calibData and not (args.fp16 or args.int8):
        raise UserError(
            f"--calibData={args.calibData} is for files that are made; add --int8 or leave it out"
        )
    if args.threads and (is_engine(args.onnx) or args.backend in ENGINE_BACKENDS):
        raise UserError(
            f"--threads={args.threads} are a CPU's, engines have none; leave it out, or give "
            "--infStreams for queries at once"
        )


def _check_least(args: argparse.Namespace, least: dict[str, int]) -> None:
    for option, smallest in least.items():
        value = getattr(args, option)
        if value is None:
            continue
        if not math.isfinite(value):
            raise UserError(
                f"--{option}={value:g} is no number to count to; take {smallest} or more"
            )
        if value < smallest:
            raise UserError(f"--{option}={value:g} is too small; take {smallest} or more")


def _percentiles(text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(0 <= value <= 100 for value in values):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of percentages such as 90,95,99")
    return values
