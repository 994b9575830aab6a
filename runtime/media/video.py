"""Overlays of one video, camera or stream: decoding, inference and encoding overlap.

A file's frames are all labelled, at whatever speed. A live source does not wait: frames that come
faster than the model labels them are dropped, so that what is labelled is never old, and the
overlay shows the one before in their place, so that it plays at the speed of life.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emca.cli import progress
from emca.errors import UserError
from runtime.media.images import write_image
from runtime.media.reader import Frame, Source
from runtime.media.sources import LABEL_FOLDER, VIDEO_OVERLAY
from runtime.media.writer import VideoWriter, Window, video_file
from runtime.segment.pipeline import DEPTH, Ahead, Behind, to_the_end
from runtime.segment.segmenter import Segmenter
from segdata.draw import overlay
from segdata.preprocess import restore
from segdata.readers import LABEL_SUFFIX

# A frame and its image at the network's size; a frame and its labels to come, at that size.
Fitted = tuple[Frame, NDArray[np.uint8]]
Labelled = tuple[Frame, Future[NDArray[np.uint8]]]


@dataclass(frozen=True)
class VideoOptions:
    """What is wanted of a video.

    Attributes:
        save_labels: also one PNG per frame.
        max_frames: label no more than so many.
        duration: stop after so many seconds of the video.
    """

    save_labels: bool = False
    max_frames: int | None = None
    duration: float | None = None


def label_video(
    segmenter: Segmenter,
    source: Source,
    stem: Path,
    options: VideoOptions,
    window: Window | None = None,
) -> None:
    """Write `stem`.overlay.mp4 and, if wanted, `stem`.labels/NNNNNN.png; say so in a line.

    What a live source gave until an interruption is kept, as a whole file.

    Args:
        window: show the overlays; q ends the run as the end of the source does.

    Raises:
        UserError: no frame at all, or the output cannot be written.
    """
    path = stem.with_name(stem.name + VIDEO_OVERLAY)
    tally = _Tally(source, path, segmenter.backend)
    try:
        with ExitStack() as stack:
            labels = stem.with_name(stem.name + LABEL_FOLDER)
            folder = None
            if options.save_labels:
                folder = labels if source.live else stack.enter_context(_label_folder(labels))
            writer = stack.enter_context(video_file(path, source.fps, keep=source.live))
            sink = _Sink(writer, segmenter, source, folder)
            # Fitting and restoring belong to the threads beside inference, which is the slowest.
            fitted = ((frame, segmenter.fit(frame.image)) for frame in source.frames())
            frames = stack.enter_context(Ahead(fitted, newest=source.live))
            stack.enter_context(_timer(options.duration if source.live else None, frames.end))
            stack.callback(source.stop)
            depth = max(DEPTH, segmenter.streams)  # else some streams would have nothing to do
            behind = stack.enter_context(Behind(sink.write, depth=depth))
            total = min(filter(None, (source.count, options.max_frames)), default=None)
            wanted = _limited(frames, options)
            for frame, image in progress(wanted, desc=source.title, total=total):
                behind.put((frame, segmenter.submit(image)))
                tally.frames, tally.dropped = tally.frames + 1, frames.dropped
                if window and sink.latest is not None and not window.show(sink.latest):
                    break
    except BaseException:
        if source.live and path.exists():
            print(tally.line())
        raise
    print(tally.line())


class _Sink:
    """Draws and writes what was labelled.

    Attributes:
        latest: the overlay written last.
    """

    def __init__(
        self, writer: VideoWriter, segmenter: Segmenter, source: Source, folder: Path | None
    ) -> None:
        self._writer, self._source, self._folder = writer, source, folder
        self._palette = segmenter.palette
        self._start: float | None = None
        self.latest: NDArray[np.uint8] | None = None

    def write(self, item: Labelled) -> None:
        frame, fitted = item
        labels = restore(fitted.result(), (frame.image.shape[0], frame.image.shape[1]))
        if self._folder is not None:
            write_image(self._folder / f"{frame.index:06d}{LABEL_SUFFIX}", labels)
        picture = overlay(frame.image, labels, self._palette)
        self._writer.write(picture, self._times(frame))
        self.latest = picture

    def _times(self, frame: Frame) -> int:
        """How often a picture is written so that a live source plays at the speed of life."""
        if self._start is None:
            self._start = frame.at
        if not self._source.live:
            return 1
        due = (frame.at - self._start) * self._source.fps + 1 - self._writer.frames
        if due > self._source.fps:  # lost for more than a second: no film of a standstill
            self._start += (due - 1) / self._source.fps
            due = 1
        return max(0, round(due))


@dataclass
class _Tally:
    """What came of a source, for the line at the end."""

    source: Source
    path: Path
    backend: str
    frames: int = 0
    dropped: int = 0

    def __post_init__(self) -> None:
        self._start = time.monotonic()

    def line(self) -> str:
        """`clip.mp4: 300 frames in 12.0 s (25.0 FPS) on openvino: out/clip.overlay.mp4; …`."""
        seconds = time.monotonic() - self._start
        notes = {
            "damaged": self.source.damaged,
            "dropped": self.dropped,
            "reconnected": self.source.reconnects,
        }
        return "; ".join(
            [
                f"{self.source.title}: {self.frames} frame{'s' * (self.frames != 1)} in "
                f"{seconds:.1f} s "
                f"({self.frames / seconds:.1f} FPS) on {self.backend}: {self.path}",
                *(f"{count} {what}" for what, count in notes.items() if count),
            ]
        )


def _limited(frames: Iterable[Fitted], options: VideoOptions) -> Iterator[Fitted]:
    """The frames up to the limit of time or number."""
    start: float | None = None
    for count, (frame, image) in enumerate(frames, 1):
        start = frame.at if start is None else start
        if options.duration is not None and frame.at - start >= options.duration:
            return
        yield frame, image
        if count == options.max_frames:
            return


@contextmanager
def _timer(seconds: float | None, function: Callable[[], None]) -> Iterator[None]:
    """Call the function so many seconds from now, unless the block ends before."""
    timer = threading.Timer(seconds or 0, function)
    timer.daemon = True
    if seconds is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _label_folder(path: Path) -> Iterator[Path]:
    """A folder whose label maps are at `path` when the block ends well, instead of earlier ones."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is no folder; remove it, or give another folder with -o")
    path = path.resolve()  # a link may lead to another disk
    temporary, before = (
        path.with_name(f".{path.stem}.{os.getpid()}.{what}{path.suffix}")
        for what in ("part", "part-before")
    )
    _clear(temporary, before, path)  # of a process of this number that was killed
    try:
        yield temporary
        with suppress(FileNotFoundError):
            path.rename(before)
        temporary.rename(path)
    finally:
        to_the_end(partial(_clear, temporary, before, path))


def _clear(temporary: Path, before: Path, path: Path) -> None:
    """Put the folder of an earlier run back where no new one came, and remove what is left.

    Files that are no label maps are kept from it anyway.
    """
    if before.exists():
        _put_back(before, path)
    for folder in (temporary, before):
        shutil.rmtree(folder, ignore_errors=True)


def _put_back(before: Path, path: Path) -> None:
    if not path.exists():
        before.rename(path)
        return
    for file in before.iterdir():
        if not (file.suffix == LABEL_SUFFIX and file.stem.isdecimal()):
            file.rename(path / file.name)
