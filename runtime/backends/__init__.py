"""Backends by name: `load` puts a model file into one of them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from emca.errors import UserError, nearest
from runtime.backends.base import Backend, InputShape, ModelFile
from runtime.backends.engine_file import EngineFile, is_engine
from runtime.backends.trt.module import INSTALL, NAMES

__all__ = [
    "BACKENDS",
    "CPU_BACKENDS",
    "ENGINE_BACKENDS",
    "GPU_BACKENDS",
    "Backend",
    "EngineFile",
    "InputShape",
    "ModelFile",
    "choose",
    "choose_for_onnx",
    "is_engine",
    "load",
]

# In the order in which `auto` takes them.
CPU_BACKENDS = ("openvino", "onnxruntime")
# They run engines of runtime.build instead of ONNX files.
ENGINE_BACKENDS = tuple(NAMES)
GPU_BACKENDS = ("onnxruntime-cuda", "onnxruntime-tensorrt", *ENGINE_BACKENDS)
BACKENDS = (*CPU_BACKENDS, *GPU_BACKENDS)


def choose(backend: str = "auto") -> str:
    """The name of the backend to use; `auto` is the fastest on the CPU that is installed.

    Raises:
        UserError: no such backend, or its package is not installed.
    """
    if backend == "auto":
        installed = [name for name in CPU_BACKENDS if find_spec(name)]
        if not installed:
            raise UserError("no backend is installed; pip install openvino or onnxruntime")
        return installed[0]
    if backend not in BACKENDS:
        raise _unknown(backend)
    package = NAMES.get(backend, backend.partition("-")[0])
    if not find_spec(package):
        wheel = "onnxruntime-gpu" if backend.startswith("onnxruntime-") else package
        raise UserError(
            f"{backend} is not installed; {INSTALL.get(backend, f'pip install {wheel}')}"
        )
    return backend


def choose_for_onnx(path: str | Path, backend: str = "auto") -> str:
    """As `choose`, for this ONNX file; UserError also where the backend runs engines alone."""
    name = choose(backend)
    if name in ENGINE_BACKENDS:
        raise UserError(
            f"{name} runs engines and {path} is none; build one with python -m runtime.build "
            f"{path} --backend={name}"
        )
    return name


def load(
    path: str | Path,
    backend: str = "auto",
    *,
    threads: int = 0,
    streams: int = 1,
    graphs: bool = True,
    libraries: Sequence[Path] = (),
) -> Backend:
    """Load a model file; `.name` of the result says which backend `auto` took.

    Args:
        path: an ONNX file of export.to_onnx or calibration, of any number format, or an engine of
            runtime.build.
        backend: one of BACKENDS, or "auto": for an engine the one it was built for.
        threads: CPU threads, 0 for every core.
        streams: how many batches shall run at once, each on one of `Backend.another`; 0 lets
            OpenVINO choose what gives the most images per second and is 1 elsewhere.
        graphs: of an engine: replay CUDA graphs.
        libraries: of an engine: plugin libraries to load beside this project's.

    Raises:
        UserError: the file cannot be read, loaded, or was not written by this project, or the
            backend is none for this kind of file.
    """
    if threads < 0:
        raise UserError(f"{threads} threads are too few; take 1 or more, or 0 for every core")
    if streams < 0:
        raise UserError(f"{streams} streams are too few; take 1 or more, or 0 for the most speed")
    if is_engine(path):
        return _load_engine(EngineFile.read(path), backend, streams, graphs, libraries)
    name = choose_for_onnx(path, backend)
    model = ModelFile.read(path)
    if name == "openvino":
        from runtime.backends.ov.backend import OpenVinoBackend

        return OpenVinoBackend(model, threads=threads, streams=streams)
    from runtime.backends.onnx_runtime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(model, threads=threads, streams=streams, name=name)


def _load_engine(
    engine: EngineFile, backend: str, streams: int, graphs: bool, libraries: Sequence[Path]
) -> Backend:
    if backend not in ("auto", *BACKENDS):
        raise _unknown(backend)
    if backend not in ("auto", engine.backend):
        raise UserError(
            f"{engine.path} is an engine for {engine.backend}; leave --backend={backend} out"
        )
    from runtime.backends.trt.engine import TensorRtBackend

    return TensorRtBackend(engine, streams=streams, graphs=graphs, libraries=libraries)


def _unknown(backend: str) -> UserError:
    options = ("auto", *BACKENDS)
    hint = nearest(backend, options)
    return UserError(f'no backend "{backend}"{hint}; there are {", ".join(options)}')
