"""What has to hold after each run of the soak; see soak.py."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import cv2

from emca.files import sha256

OUTPUTS = (".labels.png", ".overlay.jpg", ".overlay.mp4")
FRAME = re.compile(r"\d{6}\.png")  # of --save-labels, in a folder NAME.labels


class Surprise(Exception):
    """What should not have happened."""


def expect(command: list[str], codes: set[int], **options: object) -> subprocess.CompletedProcess:
    """Run to the end; Surprise on another exit code, or on an error of other than one line."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    check(done.returncode, done.stderr, codes)
    return done


def check(code: int, stderr: str, codes: set[int]) -> None:
    if code not in codes:
        raise Surprise(f"exit code {code} instead of {sorted(codes)}: {stderr[-2000:]}")
    if "Traceback" in stderr or stderr.count("\n") > 1 or (code == 2) != ("error: " in stderr):
        raise Surprise(f"exit code {code} with {stderr[-2000:]!r}")


def look_at(folder: Path, finished: dict[Path, str]) -> None:
    """Surprise where something partial lies in the folder, or an earlier output changed."""
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            raise Surprise(f"{path.name} was left behind")
        if path.is_dir() and path.suffix == ".labels":
            continue
        is_frame = path.parent.suffix == ".labels" and FRAME.fullmatch(path.name)
        if not (is_frame or path.name.endswith(OUTPUTS)):
            raise Surprise(f"{path.name} was left behind")
        if path not in finished:
            is_whole(path)
            finished[path] = sha256(path)
    for path, digest in finished.items():
        if sha256(path) != digest:
            raise Surprise(f"{path.name} changed after it was finished")


def is_whole(path: Path) -> None:
    if path.suffix == ".mp4":
        count_frames(path, 1)
    elif cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is None:
        raise Surprise(f"{path.name} cannot be read")


def count_frames(path: Path, least: int) -> None:
    """Decode every frame; Surprise where there are fewer than the header or `least` says."""
    capture = cv2.VideoCapture(str(path))
    stated = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    found = 0
    while capture.read()[0]:
        found += 1
    capture.release()
    if found < max(least, stated):
        raise Surprise(f"{path.name} has {found} frames of {max(least, stated)}")


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise Surprise("nothing happened for a minute")
        time.sleep(0.02)


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(child: subprocess.Popen[str]) -> tuple[int, str]:
    _, stderr = child.communicate(timeout=300)
    return child.returncode, stderr
