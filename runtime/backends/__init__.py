"""Backends by name: `load` puts a model file into one of them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from runtime.backends.base import Backend, InputShape, ModelFile
from segdata.errors import UserError, nearest

__all__ = ["BACKENDS", "Backend", "InputShape", "ModelFile", "choose", "load"]

# In the order in which `auto` takes them; each name is also the name of the package it needs.
BACKENDS = ("openvino", "onnxruntime")


def choose(backend: str = "auto") -> str:
    """The name of the backend to use; `auto` is the fastest that is installed.

    Raises:
        UserError: no such backend, or its package is not installed.
    """
    if backend == "auto":
        installed = [name for name in BACKENDS if find_spec(name)]
        if not installed:
            raise UserError("no backend is installed; pip install openvino or onnxruntime")
        return installed[0]
    if backend not in BACKENDS:
        options = ("auto", *BACKENDS)
        hint = nearest(backend, options)
        raise UserError(f'no backend "{backend}"{hint}; there are {", ".join(options)}')
    if not find_spec(backend):
        raise UserError(f"{backend} is not installed; pip install {backend}")
    return backend


def load(path: str | Path, backend: str = "auto", *, threads: int = 0) -> Backend:
    """Load a model file; `.name` of the result says which backend `auto` took.

    Args:
        path: an ONNX file of export.to_onnx or calibration, of any number format.
        backend: "auto", "onnxruntime" or "openvino".
        threads: CPU threads, 0 for every core.

    Raises:
        UserError: the file cannot be read, loaded, or was not written by this project.
    """
    name = choose(backend)
    if threads < 0:
        raise UserError(f"{threads} threads are too few; take 1 or more, or 0 for every core")
    model = ModelFile.read(path)
    if name == "openvino":
        from runtime.backends.open_vino import OpenVinoBackend

        return OpenVinoBackend(model, threads=threads)
    from runtime.backends.onnx_runtime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(model, threads=threads)
