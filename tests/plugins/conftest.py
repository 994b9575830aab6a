"""The plugin's library for each version of TensorRT, and TensorRT-RTX in a process of its own."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import tensorrt_plugin
from tensorrt_plugin import ROOT, WHERE, header_folders

# The oldest that we promise (JetPack 6), the last but one of 10, and the newest with headers.
VERSIONS = ("10.3", "10.16", "11.1")


@dataclass(frozen=True)
class Built:
    """A library and the headers that it was compiled with."""

    headers: Path
    library: Path


@pytest.fixture(scope="session", params=sorted({*VERSIONS, *header_folders()}))
def built(request, tmp_path_factory):
    """The library for a T4, built with the headers of one version of TensorRT."""
    tensorrt_plugin.need("nvcc", "cmake", "make", "g++")
    headers = header_folders().get(request.param)
    if headers is None:
        pytest.skip(f"no headers of TensorRT {request.param} in {WHERE}")
    folder = tmp_path_factory.mktemp("plugin")
    return Built(headers, tensorrt_plugin.build(folder, headers=headers, architectures="75"))


@pytest.fixture(scope="session")
def plugin_library():
    """libemca_plugin.so for a T4, from the sources as they are."""
    return tensorrt_plugin.library()


@pytest.fixture(scope="session")
def rtx_environment(tmp_path_factory):
    """The environment of a process in which TensorRT-RTX finds plugins.

    Its parser opens the library by a name that the wheel does not have.
    """
    spec = importlib.util.find_spec("tensorrt_rtx_libs")
    if spec is None:
        pytest.skip("tensorrt-rtx is not installed")
    folder = tmp_path_factory.mktemp("rtx")
    (folder / "libtensorrt_rtx.so").symlink_to(
        Path(spec.submodule_search_locations[0]) / "libtensorrt_rtx.so.1"
    )
    return {**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(ROOT)}
