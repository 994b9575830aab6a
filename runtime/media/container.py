"""What the head of a video file says that OpenCV does not hand on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def movie_seconds(path: Path) -> float | None:
    """How long an MP4 or MOV file plays; None of others, and where its head does not say.

    The length is that of the movie header (ISO/IEC 14496-12, `mvhd`), which takes edit lists into
    account: what was trimmed off without encoding anew stands in the file, but is not played.
    """
    with path.open("rb") as file:
        if file.read(8)[4:] != b"ftyp":
            return None
        return _movie_seconds(file)


def _movie_seconds(file: BinaryIO) -> float | None:
    size = file.seek(0, 2)
    for kind, start, end in _boxes(file, 0, size):
        if kind != b"moov":
            continue
        for inner, at, stop in _boxes(file, start, end):
            if inner == b"mvhd":
                file.seek(at)
                return _length(file.read(stop - at))
    return None


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes from `start` to `end`: kind, where the content begins and ends."""
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        size, begin = int.from_bytes(head[:4], "big"), start + 8
        if size == 1:
            size, begin = int.from_bytes(head[8:16], "big"), start + 16
        stop = start + size if size else end
        if stop < begin or stop > end:
            return
        yield head[4:8], begin, stop
        start = stop


def _length(content: bytes) -> float | None:
    """Seconds of a movie header: version, flags, two times, time scale, duration."""
    wide = content[:1] == b"\x01"
    scale, duration = (20, 8) if wide else (12, 4)
    unit = int.from_bytes(content[scale : scale + 4], "big")
    length = int.from_bytes(content[scale + 4 : scale + 4 + duration], "big")
    return length / unit if unit and length else None
