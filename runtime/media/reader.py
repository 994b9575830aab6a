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

from emca.errors import UserError
from runtime.media.container import movie_seconds

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
# A video has one frame rate when so many frames come within so much of a frame's time.
STEADY, IRREGULAR = 0.8, 0.25


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
            check_name(path)
            capture = cv2.VideoCapture(str(Path(path).absolute()), cv2.CAP_FFMPEG)
        if isinstance(path, Path):
            self.name = path.stem
        self._capture = capture
        self.fps = frame_rate(capture)
        self.count = frame_count(capture)
        seconds = movie_seconds(path) if isinstance(path, Path) else None
        if self.count and seconds:  # of a film that was trimmed frames stand in the file unseen
            self.count = min(self.count, round(seconds * self.fps))
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
        what = "frame is" if self.damaged == 1 else "frames are"
        return f"{self.title}: {self.damaged} {what} damaged or missing" if self.damaged else ""

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stopped = True

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`."""
        yield self._first
        yield from self._frames

    def _read(self) -> Iterator[Frame]:
        position = lost = 0
        shown = _Shown(self.fps)
        while not self._stopped:
            whole, image = self._capture.read()
            if whole:
                self.damaged, lost = self.damaged + lost, 0
                stamp = max(self._capture.get(cv2.CAP_PROP_POS_MSEC), 0) / 1000
                shown.add(stamp)
                yield Frame(to_rgb(image), position, stamp or position / self.fps)
                position += 1
            elif self._is_over(shown.due, lost):
                break
            else:
                step = 1 if lost < PATIENCE else lost
                position, lost = position + step, lost + step
                if step > 1:
                    self._capture.set(cv2.CAP_PROP_POS_FRAMES, position)
        self._capture.release()
        if not self._stopped:
            self._settle(shown)

    def _is_over(self, due: float, lost: int) -> bool:
        """Whether the frame that should show at `due`, and was not there, is behind the last."""
        if self.count is None:
            return lost >= PATIENCE
        return self._left(due + lost / self.fps) < SLACK_S

    def _settle(self, shown: _Shown) -> None:
        """Count what the decoder passed over by itself.

        Neither the number of frames in the header nor gaps in time alone prove damage: the one may
        be an estimate, the others belong to videos of varying frame rate.
        """
        left = self._left(shown.due)
        missing = shown.missing + (round(left * self.fps) if left >= SLACK_S else 0)
        most = missing if self.count is None else self.count - shown.count
        self.damaged = max(self.damaged, min(missing, most))

    def _left(self, seconds: float) -> float:
        """How much of the length in the header is left, in seconds."""
        return self.count / self.fps - seconds if self.count else 0.0


@dataclass
class _Shown:
    """When frames of a video showed.

    Attributes:
        fps: frames per second that it states.
        count: frames so far.
        due: seconds at which the next one should show.
    """

    fps: float
    count: int = 0
    due: float = 0.0
    _regular: int = 0
    _late: float = 0.0

    def add(self, stamp: float) -> None:
        """A frame that shows at this second."""
        late = (stamp - self.due) * self.fps if self.count else 0.0
        if abs(late) < IRREGULAR:  # the stated frame rate is a little off, perhaps
            self._regular += 1
        else:
            self._late += late
        self.count, self.due = self.count + 1, stamp + 1 / self.fps

    @property
    def missing(self) -> int:
        """Frames that should have shown in between; 0 of a video of varying frame rate."""
        return 0 if self._regular < STEADY * self.count else max(0, round(self._late))


def check_name(path: Path | str) -> None:
    """UserError for a name that is no UTF-8: OpenCV ends the process that opens a video of it."""
    try:
        os.fsencode(path).decode("utf-8")
    except UnicodeDecodeError:
        shown = os.fsencode(path).decode("utf-8", "replace")
        raise UserError(f"{shown}: its name is no UTF-8; rename it") from None


def to_rgb(image: NDArray[Any]) -> NDArray[np.uint8]:
    """OpenCV's BGR as RGB."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def frame_rate(capture: Any) -> float:
    """Frames per second that an open capture states, or what is usual."""
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    return fps if math.isfinite(fps) and 0 < fps <= MOST_FPS else USUAL_FPS


def frame_count(capture: Any) -> int | None:
    """Frames that an open capture states, None where it has no end or does not know."""
    count = float(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    return int(count) if math.isfinite(count) and count > 0 else None
