"""What can go wrong while `runtime.infer` runs, and what has to hold afterwards; see soak.py."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from soak_checks import Surprise, check, count_frames, ended, expect, look_at, start, wait_for

SIZE = (720, 1280)
FRAMES = 60
DISK_MB = 64
Image = NDArray[np.uint8]


@dataclass
class Soak:
    """The place of the runs and what is known of it.

    Attributes:
        finished: fingerprint of every output so far.
    """

    model: Path
    images: list[Image]
    folder: Path
    rng: random.Random
    finished: dict[Path, str] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def command(self, *sources: str | Path, out: Path | None = None) -> list[str]:
        words = [sys.executable, "-m", "runtime.infer", str(self.model), *map(str, sources)]
        return [*words, "-o", str(out or self.out)]

    def name(self, suffix: str) -> Path:
        return self.folder / f"{self.rng.getrandbits(48):012x}{suffix}"

    def picture(self) -> bytes:
        return encoded(self.rng.choice(self.images))

    def photo(self) -> Path:
        path = self.name(".jpg")
        path.write_bytes(self.picture())
        return path

    def video(self, damage: bool = False) -> Path:
        """A clip; with `damage` noise stands in a tenth of its middle."""
        path = self.name(".mp4")
        code = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, 25, SIZE[::-1])
        for k in range(FRAMES):
            writer.write(self.images[k % len(self.images)][..., ::-1])
        writer.release()
        if damage:
            data = bytearray(path.read_bytes())
            start, length = len(data) // 3, len(data) // 10
            data[start : start + length] = self.rng.randbytes(length)
            path.write_bytes(data)
        return path


def encoded(image: Image) -> bytes:
    return cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()


def folder_of_images(soak: Soak) -> None:
    """Eight images; some are cut short or no images at all."""
    folder = soak.name("")
    folder.mkdir()
    damaged = 0
    for _ in range(8):
        data = soak.picture()
        kind = soak.rng.choice(["whole", "whole", "cut", "noise", "empty"])
        damaged += kind != "whole"
        data = {"cut": data[: len(data) // 2], "noise": soak.rng.randbytes(900), "empty": b""}.get(
            kind, data
        )
        (folder / f"{soak.name('.jpg').name}").write_bytes(data)
    before = len(list(soak.out.glob("*.labels.png")))
    expect(soak.command(folder), {2} if damaged else {0})
    labelled = len(list(soak.out.glob("*.labels.png"))) - before
    if labelled != 8 - damaged:
        raise Surprise(f"{labelled} of {8 - damaged} whole images were labelled")


def whole_video(soak: Soak) -> None:
    """A clip without faults."""
    path = soak.video()
    expect(soak.command(path), {0})
    count_frames(soak.out / f"{path.stem}.overlay.mp4", FRAMES)


def damaged_video(soak: Soak) -> None:
    """Noise in the middle: decoders hide some of it, what they cannot is counted."""
    path = soak.video(damage=True)
    expect(soak.command(path), {0, 2})
    count_frames(soak.out / f"{path.stem}.overlay.mp4", 1)


def vanishing_video(soak: Soak) -> None:
    """The file is emptied while it is read."""
    path = soak.video()
    child = start(soak.command(path))
    time.sleep(soak.rng.uniform(0.5, 4))
    os.truncate(path, 0)
    path.unlink()
    check(*ended(child), {0, 2})


def dropped_stream(soak: Soak) -> None:
    """A server that hangs up after some frames, again and again."""
    with stream(soak) as address:
        expect(soak.command(address, "--duration=6"), {0})


def lost_stream(soak: Soak) -> None:
    """A server that goes away for good: what came until then is a whole video."""
    with stream(soak, connections=2) as address:
        expect(soak.command(address, "--reconnect=2", "--duration=60"), {2})


def terminated(soak: Soak) -> None:
    """SIGTERM at any moment of a clip: no video of it."""
    interrupted(soak, signal.SIGTERM, {143, 0})


def ctrl_c(soak: Soak) -> None:
    """SIGINT at any moment after the start."""
    interrupted(soak, signal.SIGINT, {130, 0})


def terminated_at_the_end(soak: Soak) -> None:
    """SIGTERM, once or twice, while the last label maps are written: no video and no folder."""
    path = soak.video()
    child = start(soak.command(path, "--save-labels", "--max-frames=12"))
    wait_for(lambda: count_labels(soak, path) >= 9 or child.poll() is not None)
    for _ in range(soak.rng.choice([1, 2])):
        time.sleep(soak.rng.uniform(0, 0.1))
        child.send_signal(signal.SIGTERM)
    said, stderr = child.communicate(timeout=300)
    code = -child.returncode + 128 if child.returncode < 0 and said else child.returncode
    if code not in (143, 0) or stderr:
        raise Surprise(f"exit code {code}: {stderr}")
    if (soak.out / f"{path.stem}.labels").exists() != bool(said):
        raise Surprise(f"label maps and their line do not come together: {said!r}")


def count_labels(soak: Soak, video: Path) -> int:
    return len(list(soak.out.glob(f".{video.stem}.*.part.labels/*.png")))


def terminated_images(soak: Soak) -> None:
    """SIGTERM amid large images: every output that is there is whole."""
    folder = soak.name("")
    folder.mkdir()
    for _ in range(6):
        large = cv2.resize(soak.rng.choice(soak.images), (4000, 3000))
        (folder / soak.name(".jpg").name).write_bytes(encoded(large))
    before = len(list(soak.out.iterdir()))
    child = start(soak.command(folder))
    wait_for(lambda: len(list(soak.out.iterdir())) > before or child.poll() is not None)
    time.sleep(soak.rng.uniform(0, 1))
    child.send_signal(signal.SIGTERM)
    code, stderr = ended(child)
    if code not in (143, 0, -15) or stderr:
        raise Surprise(f"exit code {code}: {stderr}")


def terminated_stream(soak: Soak) -> None:
    """SIGTERM while a stream is written: what came until then is a whole video."""
    with stream(soak) as address:
        child = start(soak.command(address))
        wait_for(lambda: any(soak.out.glob(".*.part.*")) or child.poll() is not None)
        time.sleep(soak.rng.uniform(0, 4))
        child.send_signal(signal.SIGTERM)
        code, stderr = ended(child)
        if code != 143 or "Traceback" in stderr:
            raise Surprise(f"exit code {code}: {stderr}")


def full_disk(soak: Soak) -> None:
    """Clips or images onto a disk that fills up: what is there at the end is whole."""
    clips = soak.rng.random() < 0.5
    disk = soak.name("")
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(disk)]
    subprocess.run(mount, check=True)
    try:
        ballast = soak.rng.randrange(20, 60) if clips else DISK_MB - 1
        (disk / "ballast").write_bytes(bytes(ballast << 20))
        code = 2
        for _ in range(6):
            source = soak.video() if clips else soak.photo()
            done = expect(soak.command(source, out=disk / "out"), {0, 2})
            code = done.returncode
            look_at(disk / "out", {})
        if code != 2:
            raise Surprise("the disk did not fill up")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def interrupted(soak: Soak, number: signal.Signals, codes: set[int]) -> None:
    path = soak.video()
    child = start(soak.command(path))
    # Before that the interpreter ends by itself, while it imports; nothing is written then.
    wait_for(lambda: any(soak.out.glob(".*.part.*")) or child.poll() is not None)
    time.sleep(soak.rng.uniform(0, 4))
    child.send_signal(number)
    said, stderr = child.communicate(timeout=300)
    # While the interpreter ends, a signal ends the process itself; all is done by then.
    code = -child.returncode + 128 if child.returncode < 0 and said else child.returncode
    if code not in codes or "Traceback" in stderr:
        raise Surprise(f"exit code {code}: {stderr}")
    if (soak.out / f"{path.stem}.overlay.mp4").exists() != bool(said):
        raise Surprise(f"a video and its line do not come together: {said!r}, {stderr}")


@contextmanager
def stream(soak: Soak, connections: int | None = None) -> Iterator[str]:
    """An MJPEG server that hangs up after 20 frames, for good after so many connections."""
    pictures = [encoded(image) for image in soak.images[:8]]
    served = Counter[str]()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served["all"] += 1
            if connections is not None and served["all"] > connections:
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            with suppress(OSError):
                for k in range(20):
                    data = pictures[k % len(pictures)]
                    self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n")
                    self.wfile.write(b"Content-Length: %d\r\n\r\n%s\r\n" % (len(data), data))
                    time.sleep(0.04)

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/{soak.name('').name}"
    finally:
        server.shutdown()
        server.server_close()


FAULTS: tuple[Callable[[Soak], None], ...] = (
    *(folder_of_images, whole_video, damaged_video, vanishing_video, dropped_stream),
    *(lost_stream, terminated, ctrl_c, terminated_stream, full_disk),
    *(terminated_at_the_end, terminated_images),
)
