"""Overlays as a video file, whole or not there, and a window to watch them in.

The codec is MPEG-4 part 2 (`mp4v`): the wheels of OpenCV have no H.264 encoder, and VP9 takes
sixty times as long. Every player knows it; browsers do not (`ffmpeg -i IN.mp4 OUT.mp4` helps).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from emca.errors import UserError
from emca.files import atomic_path
from runtime.media.reader import check_name

CODEC = "mp4v"
# OpenCV says nothing when the disk is full, and a video without its end cannot be played.
RESERVE_BYTES = 32 << 20
STOP_KEYS = (ord("q"), 27)


class VideoWriter:
    """Writes RGB images of one size; use `video_file`, which makes the file whole.

    Attributes:
        frames: images written.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps = path.absolute(), fps  # FFmpeg takes `12:30.mp4` for an address
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        # Whoever interrupts a run closes the file while another thread may still write.
        self._lock = threading.Lock()
        self._closed = False
        self.frames = 0

    def write(self, image: NDArray[np.uint8], times: int = 1) -> None:
        """Append uint8 [h,w,3]; another size than the first one's is scaled to it.

        Raises:
            UserError: the disk is nearly full, or OpenCV cannot write videos.
        """
        check_space(self._path.parent)
        pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        with self._lock:
            if self._closed:
                return
            writer = self._writer or self._open((image.shape[1], image.shape[0]))
            if (image.shape[1], image.shape[0]) != self._size:
                pixels = cv2.resize(pixels, self._size, interpolation=cv2.INTER_AREA)
            for _ in range(times):
                writer.write(pixels)
                self.frames += 1

    def close(self) -> None:
        """Write the end of the file."""
        with self._lock:
            self._closed = True
            if self._writer is not None:
                self._writer.release()

    def is_whole(self) -> bool:
        """Whether the file holds every frame, read back from it."""
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        capture.release()
        return found == self.frames

    def _open(self, size: tuple[int, int]) -> cv2.VideoWriter:
        # The codec halves the colours' resolution and takes even sizes alone.
        self._size = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        code = cv2.VideoWriter.fourcc(*CODEC)
        self._writer = cv2.VideoWriter(str(self._path), cv2.CAP_FFMPEG, code, self._fps, self._size)
        if not self._writer.isOpened():
            raise UserError(
                f"{self._path.parent}: OpenCV cannot write a {CODEC} video of {size[0]}x{size[1]} "
                "there; check the folder, and that opencv-python is the one from PyPI"
            )
        return self._writer


@contextmanager
def video_file(path: Path, fps: float, *, keep: bool) -> Iterator[VideoWriter]:
    """A writer whose frames are at `path` when the block ends.

    Args:
        keep: keep what is written by then when the block fails, as a whole file, too.

    Raises:
        UserError: not all that was written arrived on the disk; then nothing is at `path`.
    """
    check_name(path)
    failure: BaseException | None = None
    with atomic_path(path) as temporary:
        temporary.touch()  # tells better than OpenCV why nothing can be written there
        writer = VideoWriter(temporary, fps)
        try:
            yield writer
        except BaseException as error:
            if not keep or not writer.frames:
                raise
            failure = error
        finally:
            writer.close()
        if not writer.frames:
            raise UserError(f"{path}: nothing to write, there was no frame")
        if not writer.is_whole():
            raise UserError(f"{path}: could not be written to its end; is the disk full?")
    if failure is not None:
        raise failure


def check_space(folder: Path) -> None:
    """UserError when so little room is left that a file could not be finished."""
    free = shutil.disk_usage(folder).free
    if free < RESERVE_BYTES:
        raise UserError(
            f"{folder}: the disk is full ({free >> 20} MB left of the {RESERVE_BYTES >> 20} MB "
            "that finishing takes); make room or give another folder"
        )


class Window:
    """Shows images on the screen; to be used by the main thread.

    Raises:
        UserError: there is no screen, or OpenCV was built without windows.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")  # of missing fonts
        # Without a display Qt ends the process that asks, so let another one ask.
        code = "import cv2; cv2.namedWindow('?'); cv2.waitKey(1)"
        asked = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        if asked.returncode:
            raise UserError(
                "--show: no window can be opened here; leave --show out, or run it on a desktop "
                "with opencv-python (not opencv-python-headless)"
            )

    def show(self, image: NDArray[np.uint8], *, wait: bool = False) -> bool:
        """Show RGB uint8 [h,w,3]; False once q or Esc is pressed or the window is closed.

        Args:
            wait: for a key, whichever.
        """
        cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        cv2.imshow(self._title, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        key = cv2.waitKey(1)
        while wait and key < 0 and self._is_open():
            key = cv2.waitKey(50)  # lets Ctrl-C through
        return key not in STOP_KEYS and self._is_open()

    def _is_open(self) -> bool:
        return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) > 0

    def close(self) -> None:
        """Close the window."""
        cv2.destroyAllWindows()
