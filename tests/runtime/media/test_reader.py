from __future__ import annotations

import itertools
import os

import cv2
import numpy as np
import pytest
from videos import damage, write_video

from emca.errors import UserError
from runtime.media.container import movie_seconds
from runtime.media.reader import VideoFile, _Shown

SIZE = (96, 128)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("OPENCV_FFMPEG_LOGLEVEL", "-8")


def numbered(count: int) -> list[np.ndarray]:
    """Images that tell their number: as many of 64 blocks are white; noisy, so that files grow."""
    images = []
    rng = np.random.default_rng(0)
    for index in range(count):
        cells = np.zeros((8, 8), np.uint8)
        cells.flat[:index] = 255
        image = np.kron(cells, np.ones((SIZE[0] // 8, SIZE[1] // 8), np.uint8))
        noise = rng.integers(0, 60, (*SIZE, 3), np.uint8)
        images.append(np.abs(image[..., None].astype(int) - noise).astype(np.uint8))
    return images


def number(image: np.ndarray) -> int:
    height, width = SIZE[0] // 8, SIZE[1] // 8
    return int((image[height // 2 :: height, width // 2 :: width, 0] > 127).sum())


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mp4", "mp4v"), (".avi", "MJPG"), (".mkv", "mp4v")]
)
def test_every_frame_once_in_order(tmp_path, suffix, codec):
    path = write_video(tmp_path / f"a{suffix}", numbered(50), codec=codec)
    video = VideoFile(path)
    assert (video.name, video.fps, video.count, video.live) == ("a", 20, 50, False)
    frames = list(video.frames())
    assert [number(frame.image) for frame in frames] == list(range(50))
    assert [frame.index for frame in frames] == list(range(50))
    assert frames[10].at == pytest.approx(0.5)
    assert (video.damaged, video.trouble) == (0, "")


def test_frames_are_rgb(tmp_path):
    red = np.zeros((*SIZE, 3), np.uint8)
    red[..., 0] = 220
    path = write_video(tmp_path / "red.mp4", [red] * 3)
    np.testing.assert_allclose(
        next(VideoFile(path).frames()).image.reshape(-1, 3).mean(0), (220, 0, 0), atol=12
    )


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mp4", "mp4v"), (".avi", "MJPG"), (".mkv", "mp4v")]
)
def test_frames_after_a_damaged_place_are_found(tmp_path, suffix, codec):
    whole = write_video(tmp_path / f"whole{suffix}", numbered(60), codec=codec)
    video = VideoFile(damage(whole, tmp_path / f"bad{suffix}"))
    frames = list(video.frames())
    assert 0 < video.damaged < 30
    assert len(frames) == 60 - video.damaged
    # what is shown last is a frame near the end, and no frame comes twice
    assert number(frames[-1].image) >= 55
    indices = [frame.index for frame in frames]
    assert all(a < b for a, b in itertools.pairwise(indices))
    assert video.trouble == f"{video.title}: {video.damaged} frames are damaged or missing"


def test_a_file_that_was_cut_says_how_much_is_missing(tmp_path):
    whole = write_video(tmp_path / "whole.avi", numbered(60), codec="MJPG")
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    video = VideoFile(cut)
    count = len(list(video.frames()))
    assert 10 < count < 50
    assert video.damaged == pytest.approx(60 - count, abs=1)


def test_where_no_length_is_stated_a_damaged_frame_is_not_the_end(tmp_path):
    jpegs = [cv2.imencode(".jpg", image)[1].tobytes() for image in numbered(40)]
    whole, bad = tmp_path / "whole.mjpeg", tmp_path / "bad.mjpeg"
    whole.write_bytes(b"".join(jpegs))
    jpegs[20] = jpegs[20][:2] + b"\0" * (len(jpegs[20]) - 2)
    bad.write_bytes(b"".join(jpegs))
    video = VideoFile(whole)
    assert video.count is None
    assert [number(frame.image) for frame in video.frames()] == list(range(40))
    assert video.trouble == ""
    video = VideoFile(bad)
    found = [number(frame.image) for frame in video.frames()]
    assert found[-1] == 39
    assert len(found) >= 37


def test_a_film_that_was_trimmed_is_as_long_as_its_head_says(tmp_path):
    """Trimming without encoding anew leaves frames in the file that are not shown."""
    path = write_video(tmp_path / "a.mp4", numbered(40))
    assert movie_seconds(path) == 2.0
    data = bytearray(path.read_bytes())
    at = data.index(b"mvhd") + 4 + 12
    scale, duration = (int.from_bytes(data[k : k + 4], "big") for k in (at, at + 4))
    assert duration == 2 * scale
    data[at + 4 : at + 8] = (scale // 2).to_bytes(4, "big")
    path.write_bytes(data)
    assert movie_seconds(path) == 0.5
    assert VideoFile(path).count == 10
    for share in (0.01, 0.5, 0.99):
        path.write_bytes(data[: int(share * len(data))])
        assert movie_seconds(path) in (None, 0.5)
    assert movie_seconds(write_video(tmp_path / "a.avi", numbered(3), codec="MJPG")) is None


def test_gaps_are_damage_where_the_frame_rate_is_steady():
    steady, varying, jitter, slow = (_Shown(10) for _ in range(4))
    for index in range(60):
        if index not in range(20, 25):
            steady.add(5 + index / 10)
        varying.add(index / 20 if index < 30 else index / 5)
        jitter.add(index / 10 + 0.01 * (index % 3))
        slow.add(index / 9.5)  # its frame rate is stated wrongly
    assert [shown.missing for shown in (steady, varying, jitter, slow)] == [5, 0, 0, 0]


def test_a_name_that_opencv_cannot_open_is_refused(tmp_path):
    path = tmp_path / os.fsdecode(b"v\xff.mp4")
    path.write_bytes(write_video(tmp_path / "a.mp4", numbered(3)).read_bytes())
    with pytest.raises(UserError, match=r"v\ufffd\.mp4: its name is no UTF-8; rename it"):
        VideoFile(path)


def test_stop_ends_the_frames(tmp_path):
    video = VideoFile(write_video(tmp_path / "a.mp4", numbered(30)))
    frames = video.frames()
    next(frames)
    video.stop()
    assert len(list(frames)) == 0
    assert video.trouble == ""


@pytest.mark.parametrize("content", [b"", b"no video at all", None])
def test_what_is_no_video_is_named(tmp_path, content):
    path = tmp_path / "a.mp4"
    if content is None:  # the index of an MP4 stands at its end
        whole = write_video(tmp_path / "whole.mp4", numbered(30)).read_bytes()
        content = whole[: len(whole) // 2]
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.mp4: not a readable video"):
        VideoFile(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.mp4: no such file"):
        VideoFile(tmp_path / "gone.mp4")
