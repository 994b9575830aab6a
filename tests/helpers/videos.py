"""Videos made on the spot, and a camera on 127.0.0.1 that can be told to misbehave."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]


def write_video(path: Path, images: Sequence[Image], fps: float = 20, codec: str = "mp4v") -> Path:
    """Write RGB images of one size as a video."""
    size = (images[0].shape[1], images[0].shape[0])
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, size)
    assert writer.isOpened()
    for image in images:
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def read_video(path: Path) -> list[Image]:
    """All frames as RGB."""
    capture = cv2.VideoCapture(str(path))
    assert capture.isOpened(), path
    frames: list[Image] = []
    while True:
        whole, image = capture.read()
        if not whole:
            return frames
        frames.append(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8))


def damage(path: Path, target: Path, *, start: float = 0.4, end: float = 0.5) -> Path:
    """A copy with noise from `start` to `end`, 0..1 of the file."""
    data = bytearray(path.read_bytes())
    first, last = int(len(data) * start), int(len(data) * end)
    data[first:last] = np.random.default_rng(0).bytes(last - first)
    target.write_bytes(bytes(data))
    return target


class MjpegCamera:
    """An HTTP camera that sends JPEGs, one connection after the other.

    Attributes:
        address: where it is.
        connections: how many it has had.
        script: for each connection how many images it sends before it hangs up; once the script
            is over it refuses (404).
        broken: numbers of images, of each connection, that are sent as noise.
    """

    def __init__(
        self,
        image: Image,
        script: Sequence[int],
        *,
        pause: float = 0.02,
        broken: Sequence[int] = (),
    ) -> None:
        self.script, self.broken, self.pause = list(script), set(broken), pause
        self.connections = 0
        pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        self.jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.serve(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://user:secret@127.0.0.1:{self.server.server_port}/yard"

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one connection."""
        if self.connections >= len(self.script):
            request.send_error(404)
            return
        count = self.script[self.connections]
        self.connections += 1
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        request.end_headers()
        for index in range(count):
            noise = np.random.default_rng(index).bytes(len(self.jpeg))
            data = noise if index in self.broken else self.jpeg
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            try:
                request.wfile.write(head.encode() + data + b"\r\n")
            except OSError:
                return
            time.sleep(self.pause)


@contextmanager
def mjpeg_camera(image: Image, script: Sequence[int], **options: Any) -> Iterator[MjpegCamera]:
    """The camera while the block runs."""
    camera = MjpegCamera(image, script, **options)
    thread = threading.Thread(target=camera.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield camera
    finally:
        camera.server.shutdown()
        camera.server.server_close()
