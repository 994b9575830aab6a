from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from engines import write_engine
from videos import damage, mjpeg_camera, read_video, write_video

from runtime import Segmenter
from runtime.infer import main
from segdata.draw import overlay
from segdata.errors import UserError
from segdata.preprocess import read_image, read_label


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("OPENCV_FFMPEG_LOGLEVEL", "-8")


def clip(toys, name="clip.mp4", count=30, size=(96, 128)):
    """A video of moving stripes, a multiple of the model's input in size."""
    frames = [toys.paint(toys.stripes(size, shift=index // 4)) for index in range(count)]
    return write_video(toys.folder / name, frames)


def test_writes_labels_and_overlay_at_source_size(toys, backend_name, capsys):
    labels = np.repeat(np.repeat(toys.stripes(), 2, 0), 2, 1)  # 96x128: the model's size twice
    first = toys.picture("one/street.png", labels)
    second = toys.picture("two/street.png", toys.stripes(shift=1))
    out = toys.folder / "out"
    main([str(toys.model()), str(first), str(second), "-o", str(out), "--backend", backend_name])
    assert f"2 images labelled on {backend_name}" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == [
        "street-2.labels.png",
        "street-2.overlay.jpg",
        "street.labels.png",
        "street.overlay.jpg",
    ]
    found = read_label(out / "street.labels.png")
    assert found.shape == labels.shape
    assert (found == labels).mean() > 0.97
    np.testing.assert_array_equal(read_label(out / "street-2.labels.png"), toys.stripes(shift=1))
    picture = read_image(out / "street.overlay.jpg")
    assert picture.shape[1] == 128
    assert picture.shape[0] > 96  # the legend stands below
    # an overlay of a class's own colour over itself is that colour
    block = picture[30:42, 30:42].reshape(-1, 3).mean(0)
    np.testing.assert_allclose(block, toys.palette[labels[36, 36]], atol=25)


@pytest.mark.parametrize("head", ["scores", "masks"])
def test_other_heads_work_too(toys, head):
    image = toys.picture("a.png", toys.stripes())
    main([str(toys.model(head=head)), str(image), "-o", str(toys.folder / "out")])
    found = read_label(toys.folder / "out" / "a.labels.png")
    assert (found == toys.stripes()).mean() > 0.8


def test_bad_input_is_one_line_and_leaves_files_alone(toys, failing):
    model, image = toys.model(), toys.picture("a.png", toys.stripes())
    out = toys.folder / "out"
    main([str(model), str(image), "-o", str(out)])
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    broken = toys.folder / "a.jpg"
    broken.write_bytes(cv2.imencode(".jpg", np.zeros((64, 64, 3)))[1].tobytes()[:200])
    assert "a.jpg" in failing(main, model, broken, "-o", out)
    assert "gone.jpg: no such image" in failing(main, model, toys.folder / "gone.jpg", "-o", out)
    empty = toys.folder / "empty"
    empty.mkdir()
    assert "empty: no image or video in this folder" in failing(main, model, empty, "-o", out)
    assert "gone.onnx: cannot read" in failing(main, toys.folder / "gone.onnx", image, "-o", out)
    assert "a.png is a file; give a folder" in failing(main, model, image, "-o", image)
    engine = write_engine(toys.folder).path
    said = failing(main, engine, image, "-o", out, "--backend=openvino")
    assert "is an engine for tensorrt; leave --backend=openvino out" in said
    engine.with_name("model.engine.json").unlink()
    assert "model.engine.json is missing" in failing(main, engine, image, "-o", out)
    assert "a.png" in failing(main, model, image, "-o", image / "below")
    assert 'did you mean "--backend"?' in failing(main, model, image, "-o", out, "--backnd=auto")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_damaged_image_does_not_stop_the_others(toys, failing):
    folder = toys.folder / "in"
    for index in range(5):
        toys.picture(f"in/{index}.png", toys.stripes(shift=index))
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:100])
    (folder / "4.png").write_bytes(b"")
    out = toys.folder / "out"
    said = failing(main, toys.model(), folder, "-o", out)
    assert said.startswith("error: 2 of 5 sources are damaged: ")
    assert f"{folder}/2.png: not a readable image" in said
    assert f"{folder}/4.png" in said
    assert sorted(path.name for path in out.iterdir()) == [
        f"{index}.{kind}" for index in (0, 1, 3) for kind in ("labels.png", "overlay.jpg")
    ]
    for index in (0, 1, 3):
        np.testing.assert_array_equal(
            read_label(out / f"{index}.labels.png"), toys.stripes(shift=index)
        )


def test_tiles_are_those_of_the_segmenter(toys):
    image = toys.picture("a.png", toys.stripes((100, 150)))
    out, model = toys.folder / "out", toys.model()
    main([str(model), str(image), "-o", str(out), "--tile=48x64", "--overlap=8"])
    expected = Segmenter(model, tile=(48, 64), overlap=8)(image)
    np.testing.assert_array_equal(read_label(out / "a.labels.png"), expected)
    assert (expected == toys.stripes((100, 150))).all()


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
    assert said.startswith("error: 2 of 3 sources are damaged: ")
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
    monkeypatch.setattr("runtime.video_live.FIRST_WAIT_S", 0.02)
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


def interrupt(toys, source, out, number, *more, after_s=0.8):
    """Start a run, signal it once the video grows; its exit code and what it said."""
    words = [
        sys.executable,
        "-m",
        "runtime.infer",
        str(toys.model()),
        source,
        "-o",
        str(out),
        *more,
    ]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    deadline = time.monotonic() + 60
    while not any(out.glob(".*.part.mp4")) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    time.sleep(after_s)
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)
    return process.returncode, said


def test_bad_options_are_one_line(toys, failing):
    model, image, out = toys.model(), toys.picture("a.png", toys.stripes()), toys.folder / "out"

    def said(*words):
        return failing(main, model, *words, "-o", out)

    assert "--tile 48: write HEIGHTxWIDTH" in said(image, "--tile=48")
    assert "overlap of 48 does not go" in said(image, "--tile=48x64", "--overlap=48")
    assert "overlap of 8 needs tiles" in said(image, "--overlap=8")
    assert "to the model's 48x64; take 6x8 or more" in said(image, "--tile=5x64")
    assert "--max-frames=0 leaves no frame" in said(image, "--max-frames=0")
    assert "--duration=-1 is no time" in said(image, "--duration=-1")
    assert "--duration=nan is no time" in said(image, "--duration=nan")
    assert "--reconnect=-1 is no number" in said(image, "--reconnect=-1")
    assert "camera 97: cannot open it" in said("97")
    assert "no stream there" in said("rtsp://127.0.0.1:9/a")
    assert "is no address" in said("rtsp://[::1/a")
    assert 'did you mean "rtsp"' in said("rstp://127.0.0.1:9/a")
    assert "97 has no end" in said("97", image)
    assert "2 of 2 sources" in said("http://127.0.0.1:9/a.mp4", "http://127.0.0.1:9/b.mp4")
    assert not out.exists()


def test_a_disk_that_takes_no_more_is_one_line_and_keeps_what_is_done(toys):
    for index in range(3):
        toys.picture(f"in/{index}.png", toys.stripes(shift=index))
    path, out = clip(toys, count=300), toys.folder / "out"
    code = f"""
import resource
from runtime.infer import main
from segdata.cli import run
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
run(main, [{str(toys.model())!r}, {str(toys.folder / "in")!r}, {str(path)!r}, "-o", {str(out)!r}])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "clip.overlay.mp4: could not be written to its end; is the disk full?" in done.stderr
    assert done.stderr.count("\n") == 1
    assert len(list(out.iterdir())) == 6  # of the images


def test_one_image_is_one_image(toys, capsys):
    main([str(toys.model()), str(toys.picture("a.png", toys.stripes())), "-o", str(toys.folder)])
    assert capsys.readouterr().out.startswith("1 image labelled on ")
    empty = toys.folder / "empty.png"
    empty.touch()
    with pytest.raises(UserError):
        main([str(toys.model()), str(empty), "-o", str(toys.folder / "out")])
    assert capsys.readouterr().out == ""
