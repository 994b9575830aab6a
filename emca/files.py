"""Files that are either whole or not there, and their fingerprints."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from emca.errors import UserError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, renamed to `path` when the block ends well.

    The temporary name keeps the suffix, since writers choose the format by it. When the block
    fails, the temporary file goes and an existing `path` stays untouched. Missing parent folders
    are created.

    Raises:
        UserError: `path` is a folder, a device or the like.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "no ordinary file"
        raise UserError(f"{path} is {kind}; give the name of a file to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:  # a full disk names no file, others the temporary one
        ours = error.filename in (None, str(temporary)) and not isinstance(error, ConnectionError)
        if error.errno and ours:
            error.filename = str(path)
        raise
    finally:
        with suppress(OSError):  # what failed before it is the reason
            temporary.unlink(missing_ok=True)


def beside(path: Path, suffix: str) -> Path:
    """`model.onnx` -> `model` and the suffix, in the same folder.

    Raises:
        UserError: the path has no name, as "" or "/".
    """
    if not path.name:
        raise UserError(f"{str(path)!r} names no model file; give one such as model.onnx")
    return path.with_suffix(suffix)


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
