"""Which results a folder holds, found by their names."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from emca.errors import UserError

T = TypeVar("T")

# Other files of these names are made beside results, and are none themselves.
KNOWN_OTHERS = ("*.ranges.json", "*.engine.json", "*.scores.json")


@dataclass(frozen=True)
class Kind:
    """A sort of result.

    Attributes:
        name: what the sections of the page call it.
        patterns: of its files.
        keys: what such a file has at least; empty for a list.
        command: what makes it.
    """

    name: str
    patterns: tuple[str, ...]
    keys: frozenset[str]
    command: str


@dataclass(frozen=True)
class Result:
    """What one file holds.

    Attributes:
        kind: the name of its kind.
        path: the file.
        name: what tells it from others of its kind: a folder, a model, or "".
        content: of the JSON; the records of a training log.
    """

    kind: str
    path: Path
    name: str
    content: Any


_ORIGIN = {"command", "date", "machine", "versions"}
KINDS = (
    Kind(
        "bench",
        ("bench.json", "*.bench.json"),
        frozenset(
            {*_ORIGIN, "backend", "checkpoint_sha256", "classes", "data", "files", "images"}
            | {"input", "notes", "palette", "rows", "threads", "trained_iterations"}
        ),
        "runtime.bench --exportTable=DIR/bench.json",
    ),
    Kind(
        "compare",
        ("compare.json", "*.compare.json"),
        frozenset({*_ORIGIN, "backend", "data", "images", "models", "rows", "notes"}),
        "runtime.compare -o DIR",
    ),
    Kind(
        "certificate",
        ("*.certificate.json",),
        frozenset({*_ORIGIN, "certified", "missed", "reference", "candidate", "checks", "iou"}),
        "runtime.certify -o DIR",
    ),
    Kind(
        "sensitivity",
        ("*.sensitivity.json",),
        frozenset({*_ORIGIN, "key", "runs", "done", "fp32"}),
        "calibration.sensitivity",
    ),
    Kind(
        "search",
        ("*.mixed.json",),
        frozenset({*_ORIGIN, "key", "fp32", "blocks", "curve", "formats", "verdict"}),
        "calibration.search",
    ),
    Kind("training", ("metrics.jsonl",), frozenset(), "train"),
    Kind(
        "times",
        ("times.json", "*.times.json"),
        frozenset(),
        "runtime.bench --exportTimes=DIR/times.json",
    ),
)


def find(folder: Path) -> list[Result]:
    """The results in a folder and in the folders below it, one level deep, in the order of KINDS.

    Raises:
        UserError: there is no such folder, none of them is in it, or one is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give the one that holds the results")
    found = [
        Result(kind.name, path, _name(path, folder, kind), content)
        for kind in KINDS
        for path in _matching(folder, kind.patterns)
        if (content := _read(path, kind))
    ]
    if not found:
        ways = ", ".join(f"python -m {kind.command}" for kind in KINDS)
        raise UserError(f"{folder} holds no results; make some with {ways}")
    return found


def unknown(folder: Path) -> list[Path]:
    """The JSON files of a folder that are no results, nor known to stand beside them."""
    known = [pattern for kind in KINDS for pattern in kind.patterns] + list(KNOWN_OTHERS)
    return [
        path
        for path in sorted(folder.glob("*.json"))
        if not any(path.match(pattern) for pattern in known)
    ]


def of_kind(results: Sequence[Result], kind: str) -> list[Result]:
    """Those of one kind."""
    return [result for result in results if result.kind == kind]


def section_of(result: Result, build: Callable[..., T], *more: Any) -> T:
    """What `build` makes of a result's content, and of more.

    Raises:
        UserError: the content is not what its kind holds.
    """
    try:
        return build(result.content, *more)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"{result.path} is damaged ({type(error).__name__}: {error}); {_remedy(result.kind)}"
        ) from error


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a training log, or none; a last line cut off by a kill is left out."""
    records = []
    lines = _text(path).splitlines() if path.is_file() else []
    for line in lines:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return [record for record in records if isinstance(record, dict) and "step" in record]


def _read(path: Path, kind: Kind) -> Any:
    if kind.name == "training":
        return read_log(path)
    remedy = _remedy(kind.name)
    try:
        content = json.loads(_text(path))
    except ValueError as error:
        raise UserError(f"{path} is not JSON; {remedy}") from error
    known = content.keys() if isinstance(content, dict) else frozenset[str]()
    if not (known >= kind.keys if kind.keys else isinstance(content, list)):
        raise UserError(f"{path} was not written by {kind.command.split()[0]}; {remedy}")
    return content


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text; take it out of the folder or make it anew") from error


def _remedy(kind: str) -> str:
    command = next(one.command for one in KINDS if one.name == kind)
    return f"take it out of the folder, or make it anew with python -m {command}"


def _matching(folder: Path, patterns: Sequence[str]) -> list[Path]:
    places = [place for pattern in patterns for place in (pattern, f"*/{pattern}")]
    found = {path for place in places for path in folder.glob(place) if path.is_file()}
    return sorted(found, key=lambda path: (len(path.parts), path))


def _name(path: Path, folder: Path, kind: Kind) -> str:
    """What the file is of: its folder below the given one, and the stem that its pattern leaves."""
    parent = path.parent.relative_to(folder).as_posix()
    place = "" if parent == "." else f"{parent}/"
    ending = next(pattern for pattern in kind.patterns if path.match(pattern)).removeprefix("*")
    return place + path.name.removesuffix(ending)
