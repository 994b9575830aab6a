"""The console command: emca VERB [options], one verb for each command of the project."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import NamedTuple, NoReturn

from emca.cli import called, run
from emca.errors import UserError, nearest

PROJECT = "emca"


class Verb(NamedTuple):
    """A command: the module whose `main` it is, what it does, the extra it needs."""

    module: str
    summary: str
    extra: str


VERBS = {
    "train": Verb("train.__main__", "train a model from a configuration", "train"),
    "export": Verb("export.to_onnx", "write a checkpoint as model.onnx", "export,cpu"),
    "cast": Verb("calibration.fp16", "make the FP16 file of a model", "cpu"),
    "quantize": Verb("calibration.int8", "make the INT8 file of a model", "cpu"),
    "sensitivity": Verb("calibration.sensitivity", "tell what INT8 costs in each block", "cpu"),
    "search": Verb("calibration.search", "find the fastest INT8/FP16 mix within a budget", "cpu"),
    "embed": Verb("runtime.embed", "put preprocessing into a model, for images of one size", "cpu"),
    "to-openvino": Verb("runtime.to_openvino", "convert a model for the C++ library", "cpu"),
    "build": Verb("runtime.build", "build a TensorRT engine of a model", "gpu"),
    "bench": Verb("runtime.bench", "measure speed and accuracy of the number formats", "cpu"),
    "evaluate": Verb("runtime.evaluate", "tell the mIoU of a model on labelled images", "cpu"),
    "infer": Verb("runtime.infer", "label images, videos and cameras", "cpu"),
    "compare": Verb("runtime.compare", "measure several models side by side", "cpu"),
    "certify": Verb("runtime.certify", "prove that a model labels as its FP32 file does", "cpu"),
    "sweep": Verb("runtime.sweep", "train, export and compare a set of models", "export,cpu"),
    "serve": Verb("runtime.serve_repository", "write a model repository for Triton", "cpu"),
    "serve-client": Verb("runtime.serve_client", "label images with a Triton server", "serve"),
    "serve-capacity": Verb("runtime.serve_capacity", "tell how many GPUs a load needs", "cpu"),
    "report": Verb("runtime.report", "make one page of the results in a folder", "cpu"),
}
OPTIONS = ("--help", "--version")
OWN = ("emca", "segdata", "train", "export", "calibration", "plugins", "runtime")


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the verb and leave the process with its exit code; see the top of this file."""
    run(_dispatch, argv)


def usage() -> str:
    """What `emca --help` prints."""
    width = max(map(len, VERBS))
    lines = [f"  {name:<{width}}  {verb.summary}" for name, verb in VERBS.items()]
    return "\n".join(
        [
            f"usage: {PROJECT} VERB [options]",
            "",
            "Train, export, quantise and run EMCA segmentation models.",
            "",
            "verbs:",
            *lines,
            "",
            f"{PROJECT} VERB --help lists the options of a verb, {PROJECT} --version the version.",
        ]
    )


def _dispatch(argv: list[str] | None) -> int | None:
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"{PROJECT} {_version()}")
        return 0
    name, *rest = words
    if name not in VERBS:
        what, known = ("option", OPTIONS) if name[:1] == "-" else ("verb", tuple(VERBS))
        raise UserError(f"no {what} {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    return _run(name, VERBS[name], rest)


def _run(name: str, verb: Verb, words: list[str]) -> int | None:
    """The exit code of a verb's `main`.

    Raises:
        UserError: a package that it needs is not installed.
    """
    try:
        with called(f"{PROJECT} {name}"), _arguments(words):
            code: int | None = import_module(verb.module).main(words)
        return code
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or (package in OWN and _has_source(package)):
            raise  # a defect of ours
        raise UserError(
            f"{PROJECT} {name} needs {package}, which is not installed; in the project's folder: "
            f"pip install -c constraints.txt '.[{verb.extra}]'"
        ) from error


@contextmanager
def _arguments(words: list[str]) -> Iterator[None]:
    """The command line as the verb's module would have got it: some keep it in their results."""
    before = sys.argv
    sys.argv = [before[0], *words]
    try:
        yield
    finally:
        sys.argv = before


def _has_source(package: str) -> bool:
    """Whether a package of the project is here; a device may have some of them alone."""
    try:
        import_module(package)
    except ModuleNotFoundError:
        return False
    return True


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # takes longer than --help

    try:
        return version(PROJECT)
    except PackageNotFoundError:
        return "of a checkout that is not installed"


if __name__ == "__main__":
    main()
