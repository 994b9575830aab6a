from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from videos import damage, mjpeg_camera, read_video, write_video

from emca.errors import UserError
from runtime import Segmenter
from runtime.infer import main
from runtime.media.video import _label_folder
from segdata.draw import overlay
from segdata.preprocess import read_label


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("OPENCV_FFMPEG_LOGLEVEL", "-8")


def clip(toys, name="clip.mp4", count=30, size=(96, 128)):
    """A video of moving stripes, a multiple of the model's input in size."""
    frames = [toys.paint(toys.stripes(size, shift=index // 4)) for index in range(count)]
    return write_video(toys.folder / name, frames)


def test_a_video_gives_an_overlay_and_labels_of_every_frame(toys, backend_name, capsys):
    path, model, out = clip(toys), toys.model(), toys.folder / "out"
    main([str(model), str(path), "-o", str(out), "--save-labels", "--backend", backend_name])
    said = capsys.readouterr()
    assert f"{path}: 30 frames in " in said.out
    assert f" FPS) on {backend_name}: {out}/clip.overlay.mp4\n" in said.out
    assert said.err == ""
    assert sorted(file.name for file in out.iterdir()) == ["clip.labels", "clip.overlay.mp4"]
    sources, overlays = read_video(path), read_video(out / "clip.overlay.mp4")
    labels = sorted((out / "clip.labels").iterdir())
    assert [file.name for file in labels] == [f"{index:06d}.png" for index in range(30)]
    segmenter = Segmenter(model, backend=backend_name)
    assert len(overlays) == 30
    for source, picture, file in zip(sources, overlays, labels, strict=True):
        expected = segmenter(source)
        np.testing.assert_array_equal(read_label(file), expected)
        drawn = overlay(source, expected, toys.palette).astype(int)
        assert np.abs(drawn - picture).mean() < 9  # the codec's loss


def test_a_time_of_day_is_no_address(toys, monkeypatch):
    monkeypatch.chdir(toys.folder)
    clip(toys, "12:30.mp4", count=5)
    main([str(toys.model()), "12:30.mp4", "-o", "out"])
    assert len(read_video(toys.folder / "out" / "12:30.overlay.mp4")) == 5


def test_a_second_run_leaves_no_label_of_the_first(toys):
    path, model, out = clip(toys), toys.model(), toys.folder / "out"
    words = [str(model), str(path), "-o", str(out), "--save-labels"]
    main([*words, "--max-frames=9"])
    main([*words, "--duration=0.3"])  # at 20 FPS
    assert len(list((out / "clip.labels").iterdir())) == 6
    assert len(read_video(out / "clip.overlay.mp4")) == 6


def test_damaged_videos_are_named_and_the_rest_is_done(toys, failing):
    whole = clip(toys, count=60)
    rng = np.random.default_rng(0)
    noisy = [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(60)]
    bad = damage(write_video(toys.folder / "noisy.mp4", noisy), toys.folder / "bad.mp4")
    text = toys.folder / "text.avi"
    text.write_text("no video")
    out = toys.folder / "out"
    said = failing(main, toys.model(), text, bad, whole, "-o", out)
    assert said.startswith("error: 2 of 3 sources could not be labelled whole: ")
    assert "text.avi: not a readable video" in said
    assert "bad.mp4: " in said
    assert " frames are damaged or missing" in said
    assert len(read_video(out / "clip.overlay.mp4")) == 60
    assert 10 < len(read_video(out / "bad.overlay.mp4")) < 60
    assert len(list(out.iterdir())) == 2
    frames = len(read_video(out / "bad.overlay.mp4")) - 1
    said = failing(main, toys.model(), bad, "-o", out, f"--max-frames={frames}")
    assert " frames are damaged or missing" in said
    assert len(read_video(out / "bad.overlay.mp4")) == frames


def test_a_stream_is_found_again_and_ends_with_its_tries(toys, monkeypatch, capsys):
    monkeypatch.setattr("runtime.media.live.FIRST_WAIT_S", 0.02)
    image = toys.paint(toys.stripes((96, 128)))
    out = toys.folder / "out"
    with mjpeg_camera(image, [20, 20], pause=0.03) as camera:
        words = [str(toys.model()), camera.address, "-o", str(out), "--reconnect=2"]
        with pytest.raises(UserError, match=r"/yard: lost, and not back after 2 tries$") as error:
            main(words)
    said = capsys.readouterr().out
    assert "1 reconnected" in said
    assert "secret" not in said + str(error.value)
    (video,) = out.iterdir()
    assert re.match(r"127\.0\.0\.1-\d+-yard-2", video.name)
    assert video.name.endswith(".overlay.mp4")
    frames = read_video(video)
    # 40 images in about 1.2 s, and a stream that states 25 FPS: the speed of life
    assert 20 <= len(frames) <= 60
    assert np.abs(frames[5].astype(int) - image).mean() < 25


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_stream_is_kept_and_plays(toys, number):
    out = toys.folder / "out"
    image = toys.paint(toys.stripes((96, 128)))
    with mjpeg_camera(image, [2000]) as camera:
        code, said = interrupt(toys, camera.address, out, number)
    assert code == (143 if number == signal.SIGTERM else 130), said
    (video,) = out.iterdir()
    assert len(read_video(video)) >= 10
    assert str(video) in said


def test_the_half_video_of_an_interrupted_file_is_removed(toys):
    out = toys.folder / "out"
    path = clip(toys, count=2000)
    code, _ = interrupt(toys, str(path), out, signal.SIGTERM, after_s=0.2)
    assert code == 143
    assert not out.exists()


def test_a_file_in_place_of_the_label_folder_is_named(toys, failing):
    out = toys.folder / "out"
    out.mkdir()
    (out / "clip.labels").touch()
    said = failing(main, toys.model(), clip(toys), "-o", out, "--save-labels")
    assert "clip.labels is no folder" in said
    assert [file.name for file in out.iterdir()] == ["clip.labels"]


def test_an_interrupted_run_leaves_the_results_of_the_one_before(toys):
    path, out = clip(toys, count=2000), toys.folder / "out"
    words = [str(path), "-o", str(out), "--save-labels"]
    main([str(toys.model()), *words, "--max-frames=20"])
    video = (out / "clip.overlay.mp4").read_bytes()
    code, _ = interrupt(toys, str(path), out, signal.SIGTERM, "--save-labels", after_s=0.2)
    assert code == 143
    assert sorted(file.name for file in out.iterdir()) == ["clip.labels", "clip.overlay.mp4"]
    assert len(list((out / "clip.labels").iterdir())) == 20
    assert (out / "clip.overlay.mp4").read_bytes() == video


@pytest.mark.parametrize("twice", [False, True])
def test_a_signal_while_the_last_frames_are_written_leaves_nothing(toys, twice):
    """The labels are written by another thread, which has to end before their folder goes."""
    out = toys.folder / "out"
    process = start(toys, clip(toys, count=12, size=(1536, 2048)), out, "--save-labels")
    wait_for(process, lambda: len(list(out.glob(".*.part.labels/*.png"))) >= 9)
    for _ in range(1 + twice):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 143, said
    assert said == ""
    assert not out.exists()


def test_labels_of_a_run_take_the_place_of_those_before_at_once(tmp_path):
    path = tmp_path / "clip.labels"
    path.mkdir()
    for name in ("000000.png", "000007.png", "notes.txt"):
        (path / name).write_text("before")
    with _label_folder(path) as folder:
        folder.mkdir()
        (folder / "000000.png").write_text("new")
        assert len(list(path.iterdir())) == 3
    assert {file.name: file.read_text() for file in path.iterdir()} == {
        "000000.png": "new",
        "notes.txt": "before",
    }
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("moved", [0, 1])
def test_labels_stay_whole_when_their_exchange_is_interrupted(tmp_path, monkeypatch, moved):
    path = tmp_path / "clip.labels"
    path.mkdir()
    (path / "000000.png").write_text("before")
    rename, done = Path.rename, []

    def interrupted(source, target):
        if len(done) == moved:
            done.append(target)
            raise KeyboardInterrupt
        done.append(target)
        return rename(source, target)

    def run():
        with _label_folder(path) as folder:
            folder.mkdir()
            (folder / "000000.png").write_text("new")
            monkeypatch.setattr(Path, "rename", interrupted)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert (path / "000000.png").read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def start(toys, source, out, *more):
    """A run of the command in a process of its own."""
    words = [sys.executable, "-m", "runtime.infer", str(toys.model()), str(source), "-o", str(out)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([*words, *more], text=True, env=environment, **streams)


def wait_for(process, condition):
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)


def interrupt(toys, source, out, number, *more, after_s=0.8):
    """Start a run, signal it once the video grows; its exit code and what it said."""
    process = start(toys, source, out, *more)
    wait_for(process, lambda: any(out.glob(".*.part.mp4")))
    time.sleep(after_s)
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)
    return process.returncode, said


def test_a_disk_that_takes_no_more_is_one_line_and_keeps_what_is_done(toys):
    for index in range(3):
        toys.picture(f"in/{index}.png", toys.stripes(shift=index))
    path, out = clip(toys, count=300), toys.folder / "out"
    code = f"""
import resource
from runtime.infer import main
from runtime.media.video import _label_folder
from emca.cli import run
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
run(main, [{str(toys.model())!r}, {str(toys.folder / "in")!r}, {str(path)!r}, "-o", {str(out)!r}])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "clip.overlay.mp4: could not be written to its end; is the disk full?" in done.stderr
    assert done.stderr.count("\n") == 1
    assert len(list(out.iterdir())) == 6  # of the images


def test_labels_behind_a_link_are_exchanged_where_it_leads(tmp_path):
    real, link = tmp_path / "disk", tmp_path / "out" / "clip.labels"
    link.parent.mkdir()
    real.mkdir()
    (real / "000000.png").write_text("before")
    (real / "notes.txt").write_text("kept")
    link.symlink_to(real)
    with _label_folder(link) as folder:
        folder.mkdir()
        (folder / "000000.png").write_text("new")
    assert link.is_symlink()
    assert {file.name: file.read_text() for file in real.iterdir()} == {
        "000000.png": "new",
        "notes.txt": "kept",
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "out"]
    assert list(link.parent.iterdir()) == [link]
