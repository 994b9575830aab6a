"""Frames of video files, as RGB images, past what is damaged.

OpenCV says no more than "no frame" at the end of a file and at a damaged place alike. The length
in the header tells which it is, and reading on or seeking finds the next whole frame.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from segdata.errors import UserError

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".m2ts"),
    *(".wmv", ".flv", ".3gp", ".ogv", ".mjpg", ".mjpeg", ".h264", ".h265", ".hevc", ".gif"),
)
USUAL_FPS = 25.0  # where a source does not say
MOST_FPS = 240.0  # more than that is a clock rate, not a frame rate
# Containers round the length they state; what is missing beyond this is damage.
SLACK_S = 0.25
# Reading on passes most damage; after so many frames in vain seek, in steps that double.
PATIENCE = 32


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    Attributes:
        image: RGB uint8 [h,w,3].
        index: its number in the source, from 0; damaged frames have numbers, too.
        at: seconds on the clock of the source.
    """

    image: NDArray[np.uint8]
    index: int
    at: float


class Source(Protocol):
    """Where frames come from.

    Attributes:
        title: how messages name it, without a password.
        name: how its outputs are called.
        fps: frames per second.
        count: frames to expect, or None.
        live: whether it goes on while nobody reads.
        damaged: frames that could not be decoded so far.
        reconnects: how often it was lost and found again.
        trouble: why it ended before its time, for the user, or "".
    """

    title: str
    name: str
    fps: float
    count: int | None
    live: bool
    damaged: int
    reconnects: int

    @property
    def trouble(self) -> str:
        """See the attributes."""
        ...

    def frames(self) -> Iterator[Frame]:
        """The frames in order, once; to be called in the thread that reads."""
        ...

    def stop(self) -> None:
        """Let `frames` end soon; may be called from any thread."""
        ...


class VideoFile:
    """A video that has an end: a file, or an address of one. See `Source` for the attributes."""

    live: bool = False
    reconnects: int = 0

    def __init__(self, path: Path | str, capture: Any = None) -> None:
        """Open it; `capture` is what has it open already.

        Raises:
            UserError: missing, damaged at the start, or no video.
        """
        self.title = self.name = str(path)
        if capture is None:
            if not Path(path).is_file():
                raise UserError(f"{path}: no such file; check the path")
            if not os.access(path, os.R_OK):
                raise UserError(f"{path}: Permission denied; check the permissions")
            capture = cv2.VideoCapture(str(Path(path).absolute()), cv2.CAP_FFMPEG)
        if isinstance(path, Path):
            self.name = path.stem
        self._capture = capture
        self.fps = frame_rate(capture)
        self.count = frame_count(capture)
        self.damaged = 0
        self._stopped = False
        self._frames = self._read()
        first = next(self._frames, None) if capture.isOpened() else None
        if first is None:
            raise UserError(f"{path}: not a readable video, or damaged; replace or remove it")
        self._first = first

    @property
    def trouble(self) -> str:
        """See `Source`."""
        return f"{self.title}: {self.damaged} frames are damaged or missing" if self.damaged else ""

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stopped = True

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`."""
        yield self._first
        yield from self._frames

    def _read(self) -> Iterator[Frame]:
        position = found = lost = gaps = 0
        due = 0.0  # seconds at which the next frame should show
        while not self._stopped:
            whole, image = self._capture.read()
            if whole:
                self.damaged, lost = self.damaged + lost, 0
                yield Frame(to_rgb(image), position, position / self.fps)
                position, found = position + 1, found + 1
                stamp = max(self._capture.get(cv2.CAP_PROP_POS_MSEC), 0) / 1000
                gaps += max(0, round((stamp - due) * self.fps)) if found > 1 else 0
                due = stamp + 1 / self.fps
            elif self._left(due + lost / self.fps) < SLACK_S:
                break
            else:
                step = 1 if lost < PATIENCE else lost
                position, lost = position + step, lost + step
                if step > 1:
                    self._capture.set(cv2.CAP_PROP_POS_FRAMES, position)
        self._capture.release()
        if not self._stopped and self.count:
            self._settle(found, gaps, self._left(due))

    def _settle(self, found: int, gaps: int, left: float) -> None:
        """Count what the decoder passed over by itself.

        Neither the number of frames in the header nor gaps in time alone prove damage: the one may
        be an estimate, the others belong to videos of varying frame rate.
        """
        missing = gaps + (round(left * self.fps) if left >= SLACK_S else 0)
        self.damaged = max(self.damaged, min(missing, (self.count or 0) - found))

    def _left(self, seconds: float) -> float:
        """How much of the length in the header is left, in seconds."""
        return self.count / self.fps - seconds if self.count else 0.0


def to_rgb(image: NDArray[Any]) -> NDArray[np.uint8]:
    """OpenCV's BGR as RGB, in the same memory."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def frame_rate(capture: Any) -> float:
    """Frames per second that an open capture states, or what is usual."""
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    return fps if math.isfinite(fps) and 0 < fps <= MOST_FPS else USUAL_FPS


def frame_count(capture: Any) -> int | None:
    """Frames that an open capture states, None where it has no end or does not know."""
    count = float(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    return int(count) if math.isfinite(count) and count > 0 else None
