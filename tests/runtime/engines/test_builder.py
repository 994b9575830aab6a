from types import SimpleNamespace

import pytest

from emca.errors import UserError
from runtime.backends.engine_file import Profile
from runtime.engines.builder import (
    _builder,
    _configure,
    _hardware_level,
    _load_timing_cache,
    _save_timing_cache,
)
from runtime.engines.options import BuildOptions

SHAPE = (1, 64, 96, 3)
# What TensorRT 10.3 and later versions have.
OLD = SimpleNamespace(
    __version__="10.3.0", HardwareCompatibilityLevel=SimpleNamespace(NONE=0, AMPERE_PLUS=1)
)
NEW = SimpleNamespace(
    __version__="10.16.1",
    HardwareCompatibilityLevel=SimpleNamespace(NONE=0, AMPERE_PLUS=1, SAME_COMPUTE_CAPABILITY=2),
)


def options(**changes):
    return BuildOptions(backend="tensorrt", profiles=(Profile(SHAPE, SHAPE, SHAPE),), **changes)


class Config:
    """A builder's configuration; it takes a timing cache only if it begins with its own mark."""

    def create_timing_cache(self, known):
        return SimpleNamespace(known=known, serialize=lambda: b"T4 more")

    def set_timing_cache(self, cache, ignore_mismatch):
        assert not ignore_mismatch
        return cache.known.startswith(b"T4") or not cache.known


def test_hardware_compatibility():
    told = options(hardware_compatibility="ampere_plus")
    assert _hardware_level(OLD, told, "8.6") == 1
    assert _hardware_level(NEW, told, "12.0") == 1
    with pytest.raises(UserError, match=r"this GPU has compute capability 7\.5, older than Ampere"):
        _hardware_level(NEW, told, "7.5")
    told = options(hardware_compatibility="same_compute_capability")
    assert _hardware_level(NEW, told, "7.5") == 2
    with pytest.raises(UserError, match=r"TensorRT 10\.3\.0 knows none and ampere\+ only"):
        _hardware_level(OLD, told, "7.5")


def test_the_timing_cache_is_read_and_brought_up_to_date(tmp_path):
    file = tmp_path / "folder" / "timing.cache"
    assert _load_timing_cache(Config(), options()) is None
    cache = _load_timing_cache(Config(), options(timing_cache=file))
    assert cache.known == b""
    _save_timing_cache(cache, file)
    assert _load_timing_cache(Config(), options(timing_cache=file)).known == b"T4 more"
    file.write_bytes(b"RTX 3090")
    with pytest.raises(
        UserError, match=r"timing\.cache is damaged or holds timings of another GPU"
    ):
        _load_timing_cache(Config(), options(timing_cache=file))
    assert file.read_bytes() == b"RTX 3090"


def test_a_builder_that_does_not_start():
    def refuse(log):
        log.errors.append("CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    log = SimpleNamespace(errors=[], reason=lambda: log.errors[-1])
    with pytest.raises(UserError, match=r"tensorrt cannot start \(CUDA initialization failure"):
        _builder(SimpleNamespace(Builder=refuse), log, "tensorrt")


def test_every_setting_arrives():
    calls = {}
    trt = SimpleNamespace(
        BuilderFlag=SimpleNamespace(TF32="tf32", VERSION_COMPATIBLE="vc"),
        MemoryPoolType=SimpleNamespace(WORKSPACE="workspace"),
        ProfilingVerbosity=SimpleNamespace(DETAILED="detailed"),
        **vars(NEW),
    )
    config = SimpleNamespace(
        set_flag=lambda flag: calls.update(set=flag),
        clear_flag=lambda flag: calls.update(clear=flag),
        set_memory_pool_limit=lambda pool, size: calls.update({pool: size}),
    )
    told = options(
        workspace=1 << 20,
        optimization_level=5,
        version_compatible=True,
        hardware_compatibility="ampere_plus",
        tf32=False,
    )
    _configure(trt, config, told, "8.6")
    assert calls == {"set": "vc", "clear": "tf32", "workspace": 1 << 20}
    assert config.profiling_verbosity == "detailed"
    assert config.builder_optimization_level == 5
    assert config.hardware_compatibility_level == 1
