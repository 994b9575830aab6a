"""What the words on the command line name: images, video files, cameras and streams."""

from __future__ import annotations

import glob
import os
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from emca.errors import UserError
from runtime.media.live import is_live
from runtime.media.reader import VIDEO_SUFFIXES
from segdata.readers import IMAGE_SUFFIXES

LABELS, OVERLAY, VIDEO_OVERLAY = ".labels.png", ".overlay.jpg", ".overlay.mp4"
LABEL_FOLDER = ".labels"


@dataclass(frozen=True)
class Sources:
    """What was found, each once and in the order given.

    Attributes:
        images, videos: files.
        live: indices and devices of cameras, addresses of streams.
        troubles: folders that cannot be read, a line each.
    """

    images: list[Path] = field(default_factory=list)
    videos: list[Path] = field(default_factory=list)
    live: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images) + len(self.videos) + len(self.live) + len(self.troubles)


def find_sources(words: Iterable[str]) -> Sources:
    """Sort paths, folders, globs, camera indices and addresses.

    A number is a camera; a file or folder of that name is given as `./0`.

    Raises:
        UserError: a word names nothing.
    """
    found = Sources()
    seen: set[Path] = set()
    for word in words:
        if not word.strip():
            raise UserError(
                "a source is empty, a variable that is not set perhaps; give files, folders, "
                "globs, camera numbers or addresses"
            )
        if is_live(word):
            if word not in found.live:
                found.live.append(word)
            continue
        known = len(found.troubles)
        files = list(_expand(word, found.troubles))
        if not files and len(found.troubles) == known:
            raise _nothing(word)
        for file in files:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                (found.videos if _is_video(file) else found.images).append(file)
    return found


def output_names(files: Sequence[Path]) -> list[str]:
    """A name for each file's outputs: its stem, numbered (`x-2`) where the stem is taken."""
    taken: dict[str, None] = {}
    for file in files:
        taken[unused(file.stem, taken)] = None
    return list(taken)


def unused(name: str, taken: Container[str]) -> str:
    """The name, numbered (`x-2`) where it is taken."""
    free, count = name, 1
    while free in taken:
        count += 1
        free = f"{name}-{count}"
    return free


def _expand(word: str, troubles: list[str]) -> Iterator[Path]:
    path = Path(word).expanduser()
    if path.is_dir():
        files = (file for file in _below(path, troubles) if _is_image(file) or _is_video(file))
        yield from sorted(file for file in files if not _is_output(file) and not _is_code(file))
    elif path.exists():
        yield path
    else:
        matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  (absolute globs)
        files = (Path(match) for match in matches)
        yield from (file for file in files if file.is_file() and not _is_output(file))


def _below(folder: Path, troubles: list[str]) -> Iterator[Path]:
    """Files of the folder and those in it, linked ones too, but for hidden ones."""

    def note(error: OSError) -> None:
        troubles.append(f"{error.filename}: {error.strerror}; check the permissions")

    seen: set[tuple[int, int]] = set()  # a link may lead to where it stands
    for root, folders, names in os.walk(folder, onerror=note, followlinks=True):
        status = os.stat(root)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(root, name) for name in names if not name.startswith("."))


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES


def _is_video(file: Path) -> bool:
    return file.suffix.lower() in VIDEO_SUFFIXES


def _is_code(file: Path) -> bool:
    """Whether a `.ts` is none of MPEG, whose packets of 188 bytes each begin with a G."""
    if file.suffix.lower() != ".ts":
        return False
    try:
        with file.open("rb") as opened:
            return opened.read(189)[::188] != b"GG"
    except OSError:
        return False  # whoever opens it says why it cannot be read


def _is_output(file: Path) -> bool:
    """Whether an earlier run into the same folder left it."""
    return file.name.endswith((LABELS, OVERLAY, VIDEO_OVERLAY)) or file.parent.name.endswith(
        LABEL_FOLDER
    )


def _nothing(word: str) -> UserError:
    if word.startswith("/dev/"):
        return UserError(f"{word}: no such camera; check that it is plugged in")
    kinds = ", ".join((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))
    if Path(word).is_dir():
        return UserError(f"{word}: no image or video in this folder; known are {kinds}")
    return UserError(
        f"{word}: no such image or video; give files, folders, globs, camera numbers or addresses"
    )
