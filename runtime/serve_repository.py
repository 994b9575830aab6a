"""A model repository for Triton Inference Server.

python -m runtime.serve_repository MODEL… -o REPO [--name NAME] [--max-batch N] [--instances N]
                                   [--kind gpu|cpu] [--preferred 4,8] [--delay-us N]

Each MODEL becomes REPO/NAME with config.pbtxt, labels.txt and 1/model.onnx or 1/model.plan. REPO
keeps the models it has; start.sh in it starts the server with what they need.
"""

from __future__ import annotations

import re
import shlex
import shutil
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from os import getpid
from pathlib import Path

from emca.cli import Parser, run
from emca.errors import UserError
from plugins import OP_TYPE
from runtime.backends import EngineFile, ModelFile, is_engine
from runtime.evaluate import MODEL_HELP
from runtime.serving.config import (
    DEFAULT_DELAY_US,
    KINDS,
    MOST_DELAY_US,
    Served,
    choose_batching,
    config_text,
    count_of,
    folder_of,
)
from runtime.serving.start import START, copy_libraries, find_libraries, write_start

VERSION = "1"
SLOW_INT8 = (
    "on a CPU onnxruntime runs it slower than the FP32 file that it was made from: serve that one, "
    "or an engine on a GPU"
)
# Beyond these nothing is gained, and a slip of the finger would fill the memory.
MOST_BATCH, MOST_INSTANCES = 1024, 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def write_repository(repository: Path, models: Sequence[Served]) -> str:
    """Add the models to a repository; none gets its name before all are complete.

    Returns:
        The options that tritonserver needs beside the repository.

    Raises:
        UserError: a model of the name is there, the repository is a file, or the plugin library
            that an engine needs is not found.
    """
    if repository.exists() and not repository.is_dir():
        raise UserError(f"{repository} is a file; give a folder")
    for served in models:
        if folder_of(repository, served).exists():
            raise UserError(
                f"{folder_of(repository, served)} exists; give another --name, or remove it first"
            )
    libraries = _needed_libraries(models)
    repository.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:  # they get their names at its end
        for served in models:
            _fill(stack.enter_context(_new_folder(folder_of(repository, served))), served)
        copy_libraries(repository, libraries)
    return write_start(repository)


def read_model(path: Path) -> ModelFile | EngineFile:
    """The model file, if Triton can serve it.

    Raises:
        UserError: it cannot be read, is for another runtime, or does not give labels.
    """
    source = EngineFile.read(path) if is_engine(path) else ModelFile.read(path)
    if isinstance(source, EngineFile) and source.backend != "tensorrt":
        raise UserError(
            f"{path} is an engine for {source.backend}, which Triton does not have; build it with "
            "python -m runtime.build --backend=tensorrt"
        )
    if source.card.head != "labels":
        raise UserError(
            f"{path} gives {source.card.head}, not labels; export the model with --head labels"
        )
    return source


def model_name(path: Path) -> str:
    """A name for requests: `out/model.int8.onnx` -> `model_int8`."""
    return path.name.removesuffix(path.suffix).replace(".", "_")


def _fill(folder: Path, served: Served) -> None:
    (folder / "config.pbtxt").write_text(config_text(served), encoding="utf-8")
    names = "".join(f"{name}\n" for name in served.source.card.classes)
    (folder / "labels.txt").write_text(names, encoding="utf-8")
    (folder / VERSION).mkdir()
    shutil.copyfile(served.source.path, folder / VERSION / served.file_name)


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A folder that takes the name `target` when the block ends well, and goes otherwise.

    It is made one level down, where a Triton that polls the repository does not look for models.
    """
    temporary = target.with_name(f".{target.name}.{getpid()}.part")
    try:
        (temporary / target.name).mkdir(parents=True)
        yield temporary / target.name
        (temporary / target.name).rename(target)
    except OSError as error:
        if error.filename is None or str(temporary) in str(error.filename):
            error.filename = str(target)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _needed_libraries(models: Sequence[Served]) -> list[Path]:
    """The libraries that engines among the models need; UserError where one is missing."""
    for served in models:
        if isinstance(served.source, EngineFile) and OP_TYPE in served.source.plugins:
            return find_libraries(served.source.path)
    return []


def _names(paths: Sequence[Path], name: str | None) -> list[str]:
    """A name for each model; UserError for one that Triton cannot take, or that occurs twice."""
    if name is not None and len(paths) > 1:
        raise UserError(f"--name={name} is one name for {len(paths)} models; leave it out")
    names = [name] if name is not None else [model_name(path) for path in paths]
    for index, chosen in enumerate(names):
        if not _NAME.fullmatch(chosen):
            raise UserError(
                f"{chosen!r} is no name for a model; give --name letters, digits, '.', '_' and '-'"
            )
        if chosen in names[:index]:
            raise UserError(f"two models would be called {chosen}; add them one by one with --name")
    return names


def _sizes(text: str) -> tuple[int, ...]:
    """`4,8` -> (4, 8)."""
    try:
        return tuple(sorted({int(word) for word in text.split(",")}))
    except ValueError:
        raise UserError(f"--preferred={text} is no list of batch sizes such as 4,8") from None


def _served(path: Path, name: str, args: Namespace) -> Served:
    source = read_model(path)
    kind = args.kind or ("gpu" if isinstance(source, EngineFile) else "cpu")
    if isinstance(source, EngineFile) and kind == "cpu":
        raise UserError(f"--kind=cpu: {path} is an engine for a GPU; leave the option out")
    batching = choose_batching(
        source,
        maximum=args.max_batch,
        preferred=_sizes(args.preferred) if args.preferred is not None else (),
        delay_us=args.delay_us,
    )
    return Served(name, source, batching, args.instances, kind)


def _report(repository: Path, models: Sequence[Served], options: str) -> None:
    for served in models:
        batch = served.batching.maximum
        print(
            f"{folder_of(repository, served)}: {served.source.path} ({served.source.card.precision}"
            f"), {f'batches up to {batch}' if batch else 'one request at a time'}, "
            f"{served.instances} on each {served.kind.upper()}"
        )
        if isinstance(served.source, EngineFile):
            kind = "or later" if served.source.version_compatible else "exactly"
            print(f"  needs a Triton with TensorRT {served.source.version} {kind}")
        elif served.source.card.precision == "int8":
            print(f"  {SLOW_INT8}")
    command = f"tritonserver {shlex.quote(f'--model-repository={repository}')} {options}".strip()
    print(f"start: {shlex.quote(str(repository / START))}, that is\n  {command}")


def main(argv: list[str] | None = None) -> None:
    """The command line; see the top of this file."""
    parser = Parser(
        prog="python -m runtime.serve_repository",
        description="A model repository for Triton Inference Server.",
    )
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="REPO")
    parser.add_argument("--name", help="of the one model; by default from its file name")
    parser.add_argument(
        "--max-batch", type=count_of("--max-batch", 1, MOST_BATCH), help="default 8"
    )
    parser.add_argument("--instances", type=count_of("--instances", 1, MOST_INSTANCES), default=1)
    parser.add_argument("--kind", choices=KINDS, help="default: cpu for ONNX, gpu for engines")
    parser.add_argument("--preferred", metavar="4,8", help="batch sizes to wait for")
    parser.add_argument(
        "--delay-us",
        type=count_of("--delay-us", 0, MOST_DELAY_US),
        help=f"how long a request may wait for others; default {DEFAULT_DELAY_US}",
    )
    args = parser.parse_args(argv)
    names = _names(args.models, args.name)
    models = [_served(path, name, args) for path, name in zip(args.models, names, strict=True)]
    options = write_repository(args.out, models)
    _report(args.out, models, options)


if __name__ == "__main__":
    run(main)
