from types import SimpleNamespace

import pytest

from emca.errors import UserError
from runtime.backends.engine_file import Profile
from runtime.engines import device as build_device
from runtime.engines.device import target_device
from runtime.engines.options import BuildOptions

SHAPE = (1, 64, 96, 3)
T4 = SimpleNamespace(device="Tesla T4", compute_capability="7.5")


def target(backend, capability=""):
    profile = Profile(SHAPE, SHAPE, SHAPE)
    return target_device(
        BuildOptions(backend=backend, compute_capability=capability, profiles=(profile,))
    )


def test_with_a_gpu(monkeypatch):
    monkeypatch.setattr(build_device, "open_cuda", lambda: T4)
    assert target("tensorrt") == ("Tesla T4", "7.5")
    assert target("tensorrt-rtx") == ("Tesla T4", "7.5")
    assert target("tensorrt-rtx", "7.5") == ("Tesla T4", "7.5")
    assert target("tensorrt-rtx", "8.6") == ("", "8.6")


def test_without_a_gpu(monkeypatch):
    def refuse():
        raise UserError("no NVIDIA driver is loaded")

    monkeypatch.setattr(build_device, "open_cuda", refuse)
    assert target("tensorrt-rtx") == ("", "7.5")
    assert target("tensorrt-rtx", "8.6") == ("", "8.6")
    with pytest.raises(UserError, match="no NVIDIA driver is loaded"):
        target("tensorrt")
