"""libemca_triton.so registers the plugin where a process merely opens it, as Triton does."""

import shutil
import subprocess
import sys

import pytest
import tensorrt_plugin

OPEN = """
import ctypes, sys
library, when = sys.argv[1:]
if when == "early":
    ctypes.CDLL(library)
import tensorrt_rtx
registry = tensorrt_rtx.get_plugin_registry()
names = lambda: [f"{c.plugin_namespace}::{c.name}" for c in registry.all_creators]
assert "emca::PrototypeAttention" not in names()
if when == "late":
    ctypes.CDLL(library)
print(*names())
"""


@pytest.fixture(scope="session")
def registrars(tmp_path_factory):
    """`registrars(version)` -> the library compiled with the headers of that TensorRT."""
    tensorrt_plugin.need("g++", "nvcc")
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"  # it knows where CUDA's headers are

    def build(version):
        headers = tensorrt_plugin.header_folders().get(version)
        if headers is None:
            pytest.skip(f"no headers of TensorRT {version} in {tensorrt_plugin.WHERE}")
        target = tmp_path_factory.mktemp("triton") / "libemca_triton.so"
        source = tensorrt_plugin.SOURCES / "tensorrt" / "triton.cpp"
        flags = ["-std=c++17", "-shared", "-cudart=none", "-Xcompiler=-fPIC,-Wall,-Wextra,-Werror"]
        command = [nvcc, *flags, "-isystem", headers, source, "-o", target, "-ldl"]
        subprocess.run(command, check=True)
        return target

    return build


def opened(library, environment, when="late"):
    command = [sys.executable, "-c", OPEN, library, when]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result


def test_opening_it_is_enough(registrars, plugin_library, rtx_environment):
    library = registrars("11.1")
    shutil.copy(plugin_library, library.with_name("libemca_plugin.so"))
    result = opened(library, rtx_environment)
    assert "emca::PrototypeAttention" in result.stdout.split()
    assert "libemca_triton.so" not in result.stderr


@pytest.mark.parametrize("version", ["10.3", "10.16"])
def test_another_major_version_is_refused(registrars, plugin_library, rtx_environment, version):
    library = registrars(version)
    shutil.copy(plugin_library, library.with_name("libemca_plugin.so"))
    result = opened(library, rtx_environment)
    assert "emca::PrototypeAttention" not in result.stdout.split()
    assert "built for another major version of TensorRT" in result.stderr


def test_it_says_what_is_missing(registrars, rtx_environment):
    library = registrars("11.1")
    assert "no TensorRT is loaded yet" in opened(library, rtx_environment, "early").stderr
    assert "does not take libemca_plugin.so" in opened(library, rtx_environment).stderr
