from __future__ import annotations

import functools
import http.server
import itertools
import threading
import time
from urllib.parse import urlsplit

import numpy as np
import pytest
from videos import mjpeg_camera, write_video

from emca.errors import UserError
from runtime.media import live as video_live
from runtime.media.live import LiveStream, hide_password, is_live, open_live
from runtime.media.reader import VideoFile

IMAGE = np.full((48, 64, 3), (200, 30, 60), np.uint8)


@pytest.fixture(autouse=True)
def _quiet_and_quick(monkeypatch):
    monkeypatch.setenv("OPENCV_FFMPEG_LOGLEVEL", "-8")
    monkeypatch.setattr(video_live, "FIRST_WAIT_S", 0.02)


def test_numbers_and_addresses_are_live_and_files_are_not(tmp_path):
    assert all(map(is_live, ("0", "12", "rtsp://a/b", "http://a", "/dev/null")))
    assert not any(map(is_live, ("0.png", "./0", str(tmp_path), "a/b.mp4", "C:\\a.mp4")))


def test_frames_of_a_camera():
    with mjpeg_camera(IMAGE, [6]) as camera:
        stream = open_live(camera.address, 0)
        assert isinstance(stream, LiveStream)
        assert stream.live
        assert stream.count is None
        port = urlsplit(camera.address).port
        assert stream.name == f"127.0.0.1-{port}-yard"
        assert stream.title == f"http://127.0.0.1:{camera.server.server_port}/yard"
        frames = list(stream.frames())
    assert len(frames) == 6
    assert [frame.index for frame in frames] == list(range(6))
    assert all(b.at > a.at for a, b in itertools.pairwise(frames))
    np.testing.assert_allclose(frames[3].image.reshape(-1, 3).mean(0), (200, 30, 60), atol=4)
    assert (stream.damaged, stream.reconnects, stream.trouble) == (0, 0, "")


def test_a_dropped_connection_is_made_anew():
    with mjpeg_camera(IMAGE, [5, 4, 3]) as camera:
        stream = open_live(camera.address, 2)
        frames = list(stream.frames())
        assert camera.connections == 3
    assert [frame.index for frame in frames] == list(range(12))
    assert stream.reconnects == 2
    assert stream.trouble.endswith("/yard: lost, and not back after 2 tries")
    assert "secret" not in stream.trouble


def test_a_camera_that_was_gone_for_a_while_is_found_again():
    with mjpeg_camera(IMAGE, [3]) as camera:
        stream = open_live(camera.address, 8)
        frames = stream.frames()
        for _ in range(3):
            next(frames)
        threading.Timer(0.3, camera.script.append, (5,)).start()
        assert next(frames).index == 3
        stream.stop()
        assert stream.reconnects == 1


def test_damaged_frames_are_passed_over():
    with mjpeg_camera(IMAGE, [12], broken=[4, 7]) as camera:
        stream = open_live(camera.address, 0)
        frames = list(stream.frames())
    assert (len(frames), stream.damaged, stream.reconnects) == (10, 2, 0)


def test_stop_ends_the_wait_for_a_lost_camera(monkeypatch):
    monkeypatch.setattr(video_live, "FIRST_WAIT_S", 60)
    with mjpeg_camera(IMAGE, [5]) as camera:
        stream = open_live(camera.address, 5)
        threading.Timer(0.2, stream.stop).start()
        start = time.monotonic()
        assert len(list(stream.frames())) == 5
        assert time.monotonic() - start < 5
    assert stream.trouble == ""


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("rtsp://me:pw@127.0.0.1:9/x", r"^rtsp://127\.0\.0\.1:9/x: no stream there; check"),
        ("http://127.0.0.1:9/x", "no stream there"),
        ("rstp://127.0.0.1/x", r'unknown kind of address \(did you mean "rtsp"\?\)'),
        ("97", "camera 97: cannot open it"),
        ("700", "camera 700: no such number; cameras are 0 to 99"),
        ("9" * 30, "no such number"),
        ("rtsp://[::1/x", r"rtsp://\[::1/x is no address; write it as in rtsp://"),
        ("http://me:pw@host:80a/x", r"^http://host:80a/x is no address"),
        ("/dev/null", "/dev/null: cannot open it"),
    ],
)
def test_what_is_not_there_is_named(source, message):
    with pytest.raises(UserError, match=message):
        open_live(source, 3)


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "MJPG"), ("a.ts", "mp4v")])
def test_an_address_of_a_file_has_an_end(tmp_path, name, codec):
    write_video(tmp_path / name, [IMAGE] * 30, codec=codec)
    handler = functools.partial(QuietFiles, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        video = open_live(f"http://127.0.0.1:{server.server_port}/{name}", 5)
        assert isinstance(video, VideoFile)
        assert len(list(video.frames())) == 30
        assert video.name == f"127.0.0.1-{server.server_port}-{name}"
        with pytest.raises(UserError, match=rf"gone-{name}: no stream there; check the address"):
            open_live(f"http://127.0.0.1:{server.server_port}/gone-{name}", 5)
        assert (video.damaged, video.trouble, video.live) == (0, "", False)
    finally:
        server.shutdown()
        server.server_close()


class QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_passwords_are_hidden():
    for address, shown in {
        "rtsp://user:secret@host:554/cam": "rtsp://host:554/cam",
        "rtsp://me:p@w@host/a": "rtsp://host/a",
        "rtsp://u:pa/ss@h/x": "rtsp://h/x",
        "rtsp://u:p@a/ss@h/x": "rtsp://h/x",
        "rtsp://user@h/x": "rtsp://h/x",
        "http://h/?PASS=a&Passwd=b&c=d": "http://h/?PASS=***&Passwd=***&c=d",
        "http://h/pwd=a/x?bypass=1": "http://h/pwd=***/x?bypass=1",
        "http://cam/video.cgi?user=admin&pwd=secret": "http://cam/video.cgi?user=admin&pwd=***",
        "rtsp://h/user=a&password=secret&x=1": "rtsp://h/user=a&password=***&x=1",
        "rtsp://h/a?Pass=secret": "rtsp://h/a?Pass=***",
        "rtsp://host:554/a@b": "rtsp://host:554/a@b",
        "rtsp://[::1]:554/compass=1": "rtsp://[::1]:554/compass=1",
        "http://host/a": "http://host/a",
    }.items():
        assert hide_password(address) == shown
