"""The C++ library: built by CMake, its own tests, and the labels of Python bit for bit."""

import importlib.util
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from cpp_build import cmake, configure
from tensorrt_plugin import ROOT, header_folders
from videos import mjpeg_camera, read_video, write_video

from runtime.backends import load
from runtime.evaluate import predict
from segdata.draw import overlay
from segdata.preprocess import read_image

BUILD = ROOT / "build" / "cpp-test"

pytestmark = pytest.mark.slow


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def build():
    """The folder with the library, its tests and its programs; what is up to date stays."""
    for tool in ("cmake", "g++", "make"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    headers = ";".join(map(str, header_folders().values()))
    configured = configure(
        BUILD, "-DEMCA_WITH_TENSORRT=OFF", f"-DEMCA_TEST_TENSORRT_HEADERS={headers}"
    )
    missing = [line for line in configured.stderr.splitlines() if "are missing" in line]
    if configured.returncode and missing:
        pytest.skip(missing[0].strip())
    assert configured.returncode == 0, configured.stderr
    built = cmake("--build", BUILD, "--parallel", os.cpu_count())
    assert built.returncode == 0, built.stdout + built.stderr
    assert "warning:" not in built.stderr
    return BUILD


@pytest.fixture(scope="module")
def golden(build):
    """The folder of golden.py's files, after a run of all C++ tests."""
    result = subprocess.run(
        ["ctest", "--test-dir", build, "--output-on-failure"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    ran = [line for line in result.stdout.splitlines() if "Passed" in line]
    versions = len(header_folders()) if shutil.which("nvcc") else 0  # CUDA's headers come with it
    assert len(ran) == 6 + versions
    return build / "tests" / "golden"


@pytest.fixture
def segment(build):
    """Runs emca-segment; its exit code and what it wrote to stderr."""

    def run(*arguments, **options):
        result = subprocess.run(
            [build / "examples" / "emca-segment", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            **options,
        )
        return result.returncode, result.stderr

    return run


def test_python_and_the_program_give_the_same_labels_and_overlays(golden, segment, tmp_path):
    backend = load(golden / "one.onnx", "openvino")
    for number in range(7):
        path = golden / f"image{number}.png"
        image = read_image(path)
        labels = predict(backend, image)
        out = tmp_path / "new" / "labels.png"
        assert segment(golden / "one.xml", path, "--labels", "-o", out) == (0, "")
        assert np.array_equal(cv2.imread(str(out), cv2.IMREAD_UNCHANGED), labels)
        out = tmp_path / "overlay.png"
        assert segment(golden / "one.xml", path, f"--out={out}", "--threads=1") == (0, "")
        assert np.array_equal(read_image(out), overlay(image, labels, backend.card.palette))


def test_a_jpeg_with_a_film_behind_it_is_whole(golden, segment, tmp_path):
    for option in (cv2.IMWRITE_JPEG_PROGRESSIVE, cv2.IMWRITE_JPEG_RST_INTERVAL):
        photo, out = tmp_path / "motion.jpg", tmp_path / "labels.png"
        cv2.imwrite(str(photo), noise(64, 64), [option, 1, cv2.IMWRITE_JPEG_QUALITY, 95])
        data, arguments = photo.read_bytes(), (golden / "one.xml", photo, "--labels", "-o", out)
        for film in (b"\xff\xda\xff\xd9\xff\xda\x00", noise(300, 300).tobytes()):
            photo.write_bytes(data + film)
            assert segment(*arguments) == (0, "")
        damaged = (2, f"error: {photo}: not a readable image, or damaged; replace it\n")
        for cut in (data[:-2], data[:-2] + b"\xff", data[: len(data) // 2], data[:3]):
            photo.write_bytes(cut)
            assert segment(*arguments) == damaged


def test_videos(golden, segment, tmp_path):
    frames = [np.full((47, 63, 3), 20 * k, np.uint8) for k in range(9)]
    clip, out = tmp_path / "clip.avi", tmp_path / "out.mp4"
    mjpg = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(clip), cv2.CAP_OPENCV_MJPEG, mjpg, 7, (63, 47))
    for frame in frames:
        writer.write(frame)
    writer.release()
    assert segment(golden / "one.xml", clip, "-o", out) == (0, "")
    video = cv2.VideoCapture(str(out))
    assert (video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)) == (9, 7)
    assert video.read()[1].shape == (48, 64, 3)  # nothing is cut off to make it even
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.avi", "out.mp4"]


def test_damaged_frames_are_counted_and_the_others_kept(golden, segment, tmp_path):
    clip, out = tmp_path / "clip.avi", tmp_path / "out.mp4"
    write_video(clip, [noise(48, 64)] * 20, codec="MJPG")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    code, said = segment(golden / "one.xml", clip, "-o", out)
    kept = int(cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FRAME_COUNT))
    assert 5 < kept < 15
    assert code == 2
    assert said == f"error: {clip}: {20 - kept} frames are damaged or missing\n"


def test_what_does_not_fit_on_the_disk_leaves_nothing(golden, segment, tmp_path):
    def fill_up():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    clip = write_video(tmp_path / "clip.avi", [noise(480, 640)] * 20, codec="MJPG")
    arguments = (golden / "one.xml", clip, "-o", tmp_path / "out.mp4")
    code, said = segment(*arguments, preexec_fn=fill_up)
    error = f"error: {tmp_path / 'out.mp4'}: 0 of 20 frames were written; check the disk\n"
    assert (code, said) == (2, error)
    # GStreamer may hang at a broken file.
    talk = os.environ | {"OPENCV_VIDEOIO_DEBUG": "1", "OPENCV_LOG_LEVEL": "DEBUG"}
    said = segment(*arguments, preexec_fn=fill_up, env=talk)[1]
    assert set(re.findall(r"VIDEOIO\((\w+)\): trying", said)) == {"FFMPEG"}
    assert [path.name for path in tmp_path.iterdir()] == ["clip.avi"]


@pytest.fixture
def small_disk(tmp_path):
    """A command's first words: mounts a disk of $0 at $1 for the rest, then copies *.mp4 to $2."""
    script = (
        'mount -t tmpfs -o size="$0" small "$1" && cd "$1" && kept=$2 && shift 2 || exit 99; '
        '"$@"; code=$?; cp -- *.mp4 "$kept" 2>/dev/null; ls -A >&2; exit $code'
    )
    words = ["unshare", "-rm", "sh", "-c", script]
    if subprocess.run([*words, "1m", tmp_path, tmp_path, "true"], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    return words


def test_a_full_disk_ends_a_file_without_and_a_stream_with_its_video(
    golden, build, small_disk, tmp_path
):
    disk, kept = tmp_path / "disk", tmp_path / "kept.mp4"
    disk.mkdir()
    program = [build / "examples" / "emca-segment", golden / "one.xml"]

    def said(size, source):
        command = [*small_disk, size, disk, kept, *program, source, "-o", "out.mp4"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert result.returncode == 2
        return result.stderr

    clip = write_video(tmp_path / "clip.avi", [noise(480, 640)] * 20, codec="MJPG")
    words = "the disk is full ({} MB left of the 32 MB that finishing takes); make room"
    line = f"error: {disk}: {words} or give another folder\n"
    assert said("300k", clip) == line.format(0)
    with mjpeg_camera(noise(480, 640), [1000], pause=0.005) as camera:
        assert said("33m", camera.address) == line.format(31) + "out.mp4\n"
    assert 1 < len(read_video(kept)) < 1000


def test_a_lost_stream_is_kept_and_told(golden, segment, tmp_path):
    out = tmp_path / "out.mp4"
    with mjpeg_camera(noise(48, 64), [12, 0], broken=[4]) as camera:
        shown = camera.address.replace("user:secret@", "")
        lost = f"error: {shown}: the source was lost; {out} holds what came before\n"
        assert segment(golden / "one.xml", camera.address, "-o", out) == (2, lost)
        assert len(read_video(out)) == 11
        out.unlink()
        code, told = segment(golden / "one.xml", camera.address, "-o", out)
    assert (code, told.count("\n"), told.count("secret")) == (2, 1, 0)
    assert told.startswith(f"error: {shown}: ")
    assert list(tmp_path.iterdir()) == []


def test_colons_in_names_are_no_addresses(golden, segment, tmp_path):
    clip = write_video(tmp_path / "12:30.avi", [noise(48, 64)] * 3, codec="MJPG")
    assert segment(golden / "one.xml", clip.name, "-o", "12:31.mp4", cwd=tmp_path) == (0, "")
    assert len(read_video(tmp_path / "12:31.mp4")) == 3


def catches(program, number):
    """Whether a process handles a signal, by what Linux says of it."""
    caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{program.pid}/status").read_text())
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("name", ["clip.avi", "image.png"])
@pytest.mark.usefixtures("interruptible")
def test_signals_leave_no_half_of_a_file(golden, build, tmp_path, number, name):
    source, out = tmp_path / name, tmp_path / ("out.png" if name == "image.png" else "out.mp4")
    if name == "image.png":
        cv2.imwrite(str(source), np.zeros((3000, 4000, 3), np.uint8))
    else:
        write_video(source, [noise(480, 640)] * 100, codec="MJPG")
    program = subprocess.Popen(
        [build / "examples/emca-segment", golden / "one.xml", source, "-o", out],
        stderr=subprocess.PIPE,
        text=True,
    )
    # A video is in work once its file is there; an image, once the signal would not end it.
    while program.poll() is None and not (
        catches(program, number) if name == "image.png" else len(list(tmp_path.iterdir())) > 1
    ):
        time.sleep(0.001)
    program.send_signal(number)
    line = f"error: interrupted; {out} is not written\n"
    assert program.communicate(timeout=60)[1] == line
    assert program.returncode == 128 + number
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give a model, a source and -o OUT"),
        (["{model}", "{image}"], "give a model, a source and -o OUT"),
        (["{model}", "{image}", "-o"], "-o needs a value"),
        (["{model}", "{image}", "-o", "a.png", "--label"], "unknown option --label"),
        (["{model}", "{image}", "-o", "a.png", "--threads", "x"], "--threads x is no number"),
        (["{model}", "{image}", "-o", "a.png", "--labels=yes"], "takes no value; leave =yes out"),
        (["{model}", "{image}", "-o", "a.png", "--device=1"], "--device and --plugin are of Tens"),
        (["none.xml", "{image}", "-o", "{out}/a.png"], "none.xml: No such file"),
        (["{onnx}", "{image}", "-o", "{out}/a.png"], "python -m runtime.to_openvino"),
        (["{model}", "none.png", "-o", "{out}/a.png"], "none.png: no such file"),
        (["{model}", "none.mp4", "-o", "{out}/a.mp4"], "none.mp4: no such file"),
        (["{model}", "{out}/cut.png", "-o", "{out}/a.png"], "not a readable image, or damaged"),
        (["{model}", "{out}/flip.png", "-o", "{out}/a.png"], "not a readable image, or damaged"),
        (["{model}", "{out}/cut.png", "-o", "{out}/cut.png"], "is what is read; give another -o"),
        (["{model}", "{out}/text.mp4", "-o", "{out}/a.mp4"], "not a readable image or video"),
        (["{model}", "{out}/text.mp4", "-o", "{out}/a.avi"], "are an .mp4"),
        (["{model}", "rtsp://u:p@127.0.0.1:9/x", "-o", "{out}/a.mp4"], "p://127.0.0.1:9/x: cannot"),
        (["{model}", "http://127.0.0.1:9/x.png?pwd=p", "-o", "{out}/a.mp4"], "?pwd=***: cannot be"),
        (["{model}", "{image}", "-o", "rtsp://u:p@h/x.mp4"], "rtsp://h/x.mp4: no file; give MODEL"),
        (["rtsp://u:p@h/x", "{model}", "-o", "{out}/a.mp4"], "rtsp://h/x: no file; give MODEL"),
        (["{model}", "{image}", "-o", "{out}"], "no ordinary file"),
        (["{model}", "{image}", "-o", "{out}/a.xyz"], "OpenCV writes no such format"),
        (["{model}", "{image}", "-o", "{out}/text.mp4/a.png"], "give another -o"),
        (["{model}", "{image}", "-o", "{out}/a.jpg", "--labels"], "-o NAME.png"),
    ],
)
def test_mistakes_end_in_one_line_and_leave_nothing(golden, segment, tmp_path, arguments, words):
    png = (golden / "image0.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(png[:2000])
    (tmp_path / "flip.png").write_bytes(png[:-17] + bytes([png[-17] ^ 1]) + png[-16:])
    (tmp_path / "text.mp4").write_text("no video")
    places = {"model": golden / "one.xml", "onnx": golden / "one.onnx", "out": tmp_path}
    places["image"] = golden / "image0.png"
    code, said = segment(*(argument.format(**places) for argument in arguments))
    assert code == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert words in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.png", "flip.png", "text.mp4"]


def test_the_benchmark_writes_json(golden, build):
    result = subprocess.run(
        [build / "examples" / "emca-benchmark", golden / "one.xml", golden / "image2.png", "5"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0
    assert '"infer_ms": ' in result.stdout
