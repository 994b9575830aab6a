"""Frames of cameras and network streams, which go on while nobody reads and may vanish.

A connection that drops is made anew, after 0.5, 1, 2, 4 … 30 seconds. RTSP runs over TCP, as OpenCV
does by default; `OPENCV_FFMPEG_CAPTURE_OPTIONS` changes what FFmpeg is told.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from emca.errors import UserError, nearest
from runtime.media.reader import (
    VIDEO_SUFFIXES,
    Frame,
    VideoFile,
    frame_count,
    frame_rate,
    to_rgb,
)

SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "srt", "udp", "tcp")
TIMEOUT_MS = 10_000
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
# A damaged frame and the end of a connection look alike; after a damaged one reading goes on.
ATTEMPTS = 3
CAMERAS = range(100)  # OpenCV takes the hundreds of a number for a way of access


def is_live(source: str) -> bool:
    """Whether the word names a camera or an address rather than a file."""
    return source.isdecimal() or "://" in source or Path(source).is_char_device()


def open_live(source: str, reconnect: int) -> VideoFile | LiveStream:
    """Open a camera index, a device or an address; what has an end is a `VideoFile`.

    Args:
        reconnect: how often in a row to try again when the source vanishes.

    Raises:
        UserError: an unknown scheme, or nothing there.
    """
    scheme = _checked_scheme(source)
    capture = _open(source)
    title = hide_password(source)
    is_open = capture.isOpened()
    if scheme and is_open and (frame_count(capture) is not None or names_a_file(source)):
        video = VideoFile(title, capture)
        video.name = _name(source)
        return video
    stream = LiveStream(source, capture, reconnect)
    if stream.is_silent:
        what = "check the address, network and password"
        raise UserError(
            f"{title}: no stream there; {what}"
            if scheme
            else f"{stream.title}: cannot open it; check that it is there and not in use"
        )
    return stream


def names_a_file(address: str) -> bool:
    """Whether it ends as a video file's name does; `.mjpg` is what cameras call their streams."""
    if "://" not in address:
        return False
    try:
        suffix = Path(urlsplit(address).path).suffix.lower()
    except ValueError:
        return False  # `open_live` says so
    return suffix in VIDEO_SUFFIXES and not suffix.startswith(".mj")


class LiveStream:
    """A camera or stream that is open. See `Source` for the attributes."""

    live: bool = True
    count: int | None = None

    def __init__(self, source: str, capture: Any, reconnect: int) -> None:
        self.title = hide_password(source) if "://" in source else _camera(source)
        self.name = _name(source)
        self.fps = frame_rate(capture)
        self.damaged = self.reconnects = 0
        self.trouble = ""
        self._source, self._capture, self._reconnect = source, capture, reconnect
        self._stop = threading.Event()
        self._first = self._read() if capture.isOpened() else None

    @property
    def is_silent(self) -> bool:
        """Whether no first frame came."""
        return self._first is None

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stop.set()

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`; `at` is the time of day's steady clock."""
        index = 0
        image = self._first
        while not self._stop.is_set():
            if image is None:
                image = self._find_again()
                if image is None:
                    break
                self.reconnects += 1
            yield Frame(to_rgb(image), index, time.monotonic())
            index += 1
            image = self._read()
        self._capture.release()

    def _read(self) -> NDArray[np.uint8] | None:
        """The next whole frame, or None when the connection is gone."""
        for lost in range(ATTEMPTS):
            whole, image = self._capture.read()
            if whole:
                self.damaged += lost
                return np.asarray(image)
        return None

    def _find_again(self) -> NDArray[np.uint8] | None:
        """The first frame of a new connection, or None after all tries or when told to stop."""
        for attempt in range(self._reconnect):
            self._capture.release()
            if self._stop.wait(min(FIRST_WAIT_S * 2 ** min(attempt, 10), LONGEST_WAIT_S)):
                return None
            self._capture = _open(self._source)
            image = self._read() if self._capture.isOpened() else None
            if image is not None:
                return image
        if self._reconnect and not self._stop.is_set():
            self.trouble = f"{self.title}: lost, and not back after {self._reconnect} tries"
        return None


def hide_password(address: str) -> str:
    """The address without user and password, and with *** for a password among its parameters.

    What could be a part of a password goes, too: all up to the last @, unless a host and a port
    alone stand before the first slash.
    """
    scheme, sign, rest = address.partition("://")
    if not re.match(r"[^/@:]*(:\d+)?(/|$)", rest):
        rest = rest.rpartition("@")[2]
    rest = re.sub(r"(?i)(?<![a-z])(pass|pwd|passwd|password)=[^&/?#]*", r"\1=***", rest)
    return f"{scheme}{sign}{rest}"


def _open(source: str) -> Any:
    if "://" in source:
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS]
        limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS]
        return cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits)
    return cv2.VideoCapture(int(source) if source.isdecimal() else source)


def _checked_scheme(source: str) -> str:
    """`rtsp` of an address, "" of a camera; UserError where neither can be."""
    if source.isdecimal() and int(source) not in CAMERAS:
        raise UserError(f"camera {source}: no such number; cameras are 0 to {CAMERAS[-1]}")
    scheme, sign, _ = source.lower().partition("://")
    if not sign:
        return ""
    title = hide_password(source)
    if scheme not in SCHEMES:
        hint = nearest(scheme, SCHEMES)
        raise UserError(f"{title}: unknown kind of address{hint}; there are {', '.join(SCHEMES)}")
    try:
        _ = urlsplit(source).port
    except ValueError:
        raise UserError(f"{title} is no address; write it as in rtsp://host:554/path") from None
    return scheme


def _camera(source: str) -> str:
    return f"camera {source}" if source.isdecimal() else source


def _name(source: str) -> str:
    """A file name for what is at the address: `camera0`, `video0`, `host-port-path`."""
    if source.isdecimal():
        return f"camera{source}"
    if "://" not in source:
        return Path(source).name
    parts = urlsplit(hide_password(source))
    place = f"{parts.hostname or ''}:{parts.port or ''}{parts.path}"
    return re.sub(r"[^\w.]+", "-", place).strip("-") or "stream"
