"""Result files: JSON that says where its numbers come from, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from emca.files import atomic_path
from runtime.results import machine


@contextmanager
def json_output(path: Path | None) -> Iterator[Callable[[Any], None]]:
    """A function that writes a value to `path`, or nowhere if that is None.

    The place is claimed on entering: a target that cannot be written shows before hours of work,
    not after them. The file takes its name on leaving, unless an error is the reason.
    """
    if path is None:
        yield lambda value: None
        return
    with atomic_path(path) as temporary:
        temporary.touch()
        yield lambda value: _write(temporary, value)


def origin(command: str) -> dict[str, Any]:
    """When, where and how a measurement was made; the first entries of every result file."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "machine": machine.describe(),
        "versions": machine.versions(),
    }


def _write(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
