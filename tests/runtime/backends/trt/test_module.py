import sys
from types import SimpleNamespace

import pytest

from emca.errors import UserError
from runtime.backends.trt.module import make_log, module, version


def test_the_package_that_is_installed():
    trt = pytest.importorskip("tensorrt_rtx")
    assert module("tensorrt-rtx") is trt
    assert version(trt) >= (1, 0)


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(
        UserError, match=r"^tensorrt is not installed; pip install .tensorrt<11. \(on a"
    ):
        module("tensorrt")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import absent_bindings", "cannot be imported (No module named 'absent_bindings')"),
        ("raise OSError('libnvinfer.so.10:\\n no such file')", "(libnvinfer.so.10: no such file)"),
        ("raise RuntimeError", "cannot be imported (RuntimeError)"),
        ("", "tensorrt is not installed"),
        ("Builder, __version__ = 0, '8.6.1.6'", "tensorrt is 8.6.1.6 but 10.3 or newer is needed"),
    ],
)
def test_a_package_that_cannot_be_used(tmp_path, monkeypatch, source, message):
    (tmp_path / "tensorrt.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(UserError) as error:
        module("tensorrt")
    sys.modules.pop("tensorrt", None)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_versions():
    assert version(SimpleNamespace(__version__="10.16.1.11")) == (10, 16)


def test_the_log_keeps_errors_and_tells_everything():
    trt = pytest.importorskip("tensorrt_rtx")
    heard = []
    log = make_log(trt, heard.append)
    assert log.reason() == "no reason given"
    levels = trt.ILogger.Severity
    log.log(levels.VERBOSE, "small talk")
    log.log(levels.WARNING, "careful")
    log.log(levels.ERROR, "no\n room")
    log.log(levels.INTERNAL_ERROR, "Thread context has not been set! Using global log stream.")
    log.log(levels.INTERNAL_ERROR, "worse")
    log.log(levels.ERROR, "no\n room")
    assert len(heard) == 6
    assert log.reason() == "no room; worse"
