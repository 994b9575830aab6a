"""A TensorRT engine of an ONNX file, checked against what the file asks for.

python -m runtime.build MODEL.onnx -o model.engine --maxShapes=image:8x512x512x3

The number format is the file's own: give MODEL.fp16.onnx for an FP16 engine. Beside the engine
stands `model.engine.json`: what it was built from and for, and every layer of it.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from tqdm import tqdm

from emca.cli import Parser, progress, run
from emca.errors import UserError
from emca.files import atomic_path, beside
from plugins import OP_TYPE
from plugins.library import FILE_NAME
from runtime.backends.base import ModelFile
from runtime.backends.cuda.memory import choose_gpu, open_cuda
from runtime.backends.engine_file import EngineFile, is_engine
from runtime.backends.trt.module import NAMES
from runtime.engines.graph import named_plugins, prepare
from runtime.engines.job import Built, Failure, Job, Progress, engine_file
from runtime.engines.layers import layer_table, product_table
from runtime.engines.options import BuildOptions, add_build_options, build_options
from runtime.engines.trial import parity_line
from runtime.results import machine
from runtime.results.output import origin

CHILD = Path(__file__).parent / "engines" / "child.py"
SUFFIXES = {"tensorrt": ".engine", "tensorrt-rtx": ".rtx.engine"}


def default_target(model: Path, backend: str) -> Path:
    """`model.fp16.onnx` -> `model.fp16.engine`, or `model.fp16.rtx.engine` for TensorRT-RTX."""
    return beside(model, SUFFIXES[backend])


def build(
    model: Path,
    target: Path,
    options: BuildOptions,
    *,
    command: str,
    keep_anyway: bool = False,
    verbose: bool = False,
) -> tuple[EngineFile, Built]:
    """Build an engine in a process of its own and write it with its JSON, or nothing at all.

    Args:
        model: a file of export.to_onnx or calibration.
        target: the engine's name, ending in .engine or .plan.
        command: what to name in the JSON as the way to it.
        keep_anyway: keep an engine that is not what the file asks; its notes say why.
        verbose: show all that TensorRT logs, on standard error.

    Raises:
        UserError: the file cannot be read, parsed or built, the process crashed, or the engine
            is not what the file asks for.
    """
    if not is_engine(target):
        raise UserError(f"{target}: give the engine a name that ends in .engine")
    _check_other(target, model)
    file = ModelFile.read(model)
    with atomic_path(target) as plan:
        plan.touch()  # a folder that cannot be written to shows now, not after the build
        job = Job(model.resolve(), plan.resolve(), target, options, keep_anyway, verbose)
        built = _in_child(job)
        engine = replace(engine_file(job, built, file.card, plan), path=target)
        engine.write(  # first, so that where it fails the engine before stays
            {
                **origin(command),
                "seconds": round(built.seconds, 1),
                "notes": list(built.notes),
                "parity": built.parity,
            }
        )
    return engine, built


def save_graph(model: Path, target: Path, options: BuildOptions) -> None:
    """Write the graph that TensorRT's parser gets, for builders other than this one.

    Raises:
        UserError: the file cannot be read, or the target is the file itself.
    """
    _check_other(target, model)
    file = ModelFile.read(model)
    operators = (OP_TYPE,) if options.plugins is None else options.plugins
    graph = prepare(file.proto, named_plugins(file.proto, operators))
    with atomic_path(target) as temporary:
        temporary.write_bytes(graph.SerializeToString())


def _check_other(target: Path, model: Path) -> None:
    if target.resolve() == model.resolve():
        raise UserError(f"{target} is the model itself; give another name")


def report(engine: EngineFile, built: Built) -> str:
    """What a user wants to know about a new engine, as text."""
    target = f"compute capability {built.compute_capability}"
    megabytes = engine.path.stat().st_size / 1e6
    plugins = ", ".join(f"{count} x {name}" for name, count in built.plugins.items()) or "none"
    return "\n".join(
        [
            f"=== Engine: {engine.path} ===",
            f"{engine.backend} {built.version} for {built.device or target}, {megabytes:.1f} MB, "
            f"built in {built.seconds:.1f} s; plugin layers: {plugins}",
            "",
            layer_table(built.layers),
            "",
            product_table(built.outcomes),
            *built.notes,
            parity_line(built.parity),
        ]
    )


def _in_child(job: Job) -> Built:
    """What the builder's process answers; UserError where it says so or dies."""
    with tempfile.TemporaryFile() as said, _library_folder(job.options.backend) as environment:
        with subprocess.Popen(
            [sys.executable, str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if job.verbose else said,
            env=environment,
        ) as child:
            try:
                answer = _converse(child, job)
            finally:
                child.kill()  # where it is interrupted; else it has ended
        code = child.returncode
        if isinstance(answer, Built):
            return answer
        if isinstance(answer, Failure):
            raise UserError(answer.reason)
        said.seek(0)
        raise _crash(job, code, said.read().decode(errors="replace"))


def _converse(child: subprocess.Popen[bytes], job: Job) -> Built | Failure | None:
    """Send the job, show the progress, and return the last message, if any came."""
    assert child.stdin
    assert child.stdout
    try:
        pickle.dump(job, child.stdin)
        child.stdin.close()
    except BrokenPipeError:
        child.wait()
        return None
    phase = ""
    bar: tqdm[None] = progress((), desc="building", total=1)
    with bar:
        while True:
            try:
                message = pickle.load(child.stdout)
            except (EOFError, pickle.UnpicklingError):
                child.wait()
                return None
            if not isinstance(message, Progress):
                child.wait()
                return message  # type: ignore[no-any-return]
            if message.phase != phase:
                phase = message.phase
                bar.reset(message.total)
                bar.set_description(phase, refresh=False)
            bar.n = message.done
            bar.refresh()


def _crash(job: Job, code: int, said: str) -> Exception:
    """What to raise for a process that ended without an answer."""
    if code < 0:
        name = signal.Signals(-code).name
        silence = "its log is above" if job.verbose else "it said nothing"
        last = said.strip().splitlines()[-1:] or [silence]
        remedy = "it most likely ran out of memory: give --memPoolSize or a smaller --maxShapes"
        return UserError(
            f"{job.model}: the builder of {job.options.backend} died of {name} ({last[0]}); "
            f"{remedy if name == 'SIGKILL' else 'report this with the versions in use'}"
        )
    return RuntimeError(f"the builder's process ended with exit code {code}:\n{said}")


@contextmanager
def _library_folder(backend: str) -> Iterator[dict[str, str]]:
    """The environment of the builder's process.

    TensorRT-RTX's parser looks for its library under a name without a version, which its Python
    package does not have, and ends the process where it finds none.
    """
    environment = dict(os.environ)
    package = find_spec("tensorrt_rtx_libs") if backend == "tensorrt-rtx" else None
    folders = list(package.submodule_search_locations or []) if package else []
    libraries = [path for folder in folders for path in Path(folder).glob("lib*.so.*")]
    if not libraries:
        yield environment
        return
    with tempfile.TemporaryDirectory() as folder:
        for library in libraries:
            plain = library.name[: library.name.index(".so.") + len(".so")]
            (Path(folder) / plain).symlink_to(library)
        before = environment.get("LD_LIBRARY_PATH")
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, (folder, before)))
        yield environment


def main(argv: list[str] | None = None) -> None:
    """The command line; see the top of this file."""
    summary, _, details = (__doc__ or "").partition("\n")
    parser = Parser(prog="python -m runtime.build", description=summary, epilog=details)
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL.onnx", help="file of export.to_onnx or calibration")
    add("-o", "--output", "--saveEngine", type=Path, metavar="FILE",
        help="default: MODEL.engine, MODEL.rtx.engine with tensorrt-rtx")  # fmt: skip
    add("--graphOnly", type=Path, metavar="FILE",
        help="write the graph for trtexec instead of an engine")  # fmt: skip
    add("--backend", default="tensorrt", help=f"{' (default), '.join(NAMES)}")
    add_build_options(parser)
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    choose_gpu(args.device)
    if args.device is not None:
        open_cuda()  # a GPU that is not there would be no GPU to the builder
    options = build_options(args, args.backend, ModelFile.read(args.model).input_shape)
    if args.graphOnly and args.output:
        raise UserError(f"--graphOnly writes no engine; leave -o {args.output} out")
    if args.graphOnly:
        save_graph(args.model, args.graphOnly, options)
        print(f"{args.graphOnly}: for trtexec --stronglyTyped --dynamicPlugins={FILE_NAME}")
        return
    engine, built = build(
        args.model,
        args.output or default_target(args.model, options.backend),
        options,
        command=machine.command_line("runtime.build", words),
        keep_anyway=args.keepAnyway,
        verbose=args.verbose,
    )
    print(report(engine, built))


if __name__ == "__main__":
    run(main)
