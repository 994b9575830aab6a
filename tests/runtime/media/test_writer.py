from __future__ import annotations

import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest
from videos import read_video

from emca.errors import UserError
from runtime.media import writer as video_sink
from runtime.media.writer import Window, video_file


def picture(index: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    image = np.full((*size, 3), 40, np.uint8)
    image[:, : 6 * (index + 1)] = (200, 90, 20)
    return image


def test_every_image_in_rgb(tmp_path):
    path = tmp_path / "a.mp4"
    with video_file(path, 10, keep=False) as writer:
        for index in range(8):
            writer.write(picture(index))
        writer.write(picture(0), 3)
        assert not path.exists()
    frames = read_video(path)
    assert len(frames) == 11
    for index, frame in enumerate(frames[:8]):
        assert np.abs(frame.astype(int) - picture(index)).mean() < 8
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_odd_and_changing_sizes(tmp_path):
    with video_file(tmp_path / "a.mp4", 10, keep=False) as writer:
        writer.write(picture(3, (47, 63)))
        writer.write(picture(3, (94, 126)))
    first, second = read_video(tmp_path / "a.mp4")
    assert first.shape == second.shape == (48, 64, 3)
    assert np.abs(first.astype(int) - picture(3)).mean() < 12


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError])
@pytest.mark.parametrize("keep", [True, False])
def test_a_failure_keeps_a_whole_file_or_none(tmp_path, error, keep):
    path = tmp_path / "a.mp4"

    def fail():
        with video_file(path, 10, keep=keep) as writer:
            for index in range(5):
                writer.write(picture(index))
            raise error

    with pytest.raises(error):
        fail()
    assert (len(read_video(path)) == 5) if keep else (list(tmp_path.iterdir()) == [])


def test_a_failure_leaves_an_earlier_file_alone(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"earlier")

    def fail():
        with video_file(path, 10, keep=False) as writer:
            writer.write(picture(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"earlier"


def test_no_frame_is_no_file(tmp_path):
    with (
        pytest.raises(UserError, match=r"a\.mp4: nothing to write"),
        video_file(tmp_path / "a.mp4", 10, keep=True),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [True, False])
def test_a_disk_that_takes_no_more_leaves_no_half_file(tmp_path, keep):
    """A limit on the size of files stands for the full disk: OpenCV passes over both in silence."""
    code = f"""
import resource, sys
from pathlib import Path
import numpy as np
from runtime.media.writer import video_file
from emca.cli import run

def main(argv):
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    rng = np.random.default_rng(0)
    with video_file(Path({str(tmp_path)!r}) / "a.mp4", 10, keep={keep}) as writer:
        for _ in range(40):
            writer.write(rng.integers(0, 256, (96, 128, 3), np.uint8))

run(main)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "a.mp4: could not be written to its end; is the disk full?" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_live_video_ends_whole_before_the_disk_is_full(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    path = tmp_path / "a.mp4"

    def fill():
        with video_file(path, 10, keep=True) as writer:
            for index in range(5):
                if index == 3:
                    monkeypatch.setattr(
                        video_sink.shutil, "disk_usage", lambda _: usage(1 << 30, 1 << 30, 5 << 20)
                    )
                writer.write(picture(index))

    with pytest.raises(UserError, match=r"the disk is full \(5 MB left of the 32 MB"):
        fill()
    assert len(read_video(path)) == 3


def test_no_screen_is_one_line(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("QT_QPA_PLATFORM", "xcb")
    with pytest.raises(UserError, match="--show: no window can be opened here"):
        Window("a")
