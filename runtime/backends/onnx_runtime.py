"""onnxruntime: the reference backend on the CPU, and its providers for NVIDIA GPUs."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from emca.errors import UserError
from runtime.backends.base import (
    INPUT_NAME,
    InputShape,
    LayerInfo,
    LayerTimes,
    ModelFile,
    by_layer,
    checked,
)
from runtime.backends.trt.module import module

# onnxruntime 1.31 quantises the bias of a layer that reads and writes INT8 by the product of both
# scales. In FP16, which ours are in, that product is 0 or nearly, and labels are lost.
WRONG_OPTIMIZERS = ["WeightBiasQuantization"]

CUDA = ("CUDAExecutionProvider", {"use_tf32": "0"})  # an FP32 file shall be computed in FP32
# What each backend asks for, most wanted first; the CPU takes the nodes that none of them knows.
# Without further options the TensorRT provider builds strongly typed, by the types in the file.
PROVIDERS: dict[str, list[tuple[str, dict[str, str]]]] = {
    "onnxruntime": [("CPUExecutionProvider", {})],
    "onnxruntime-cuda": [CUDA],
    "onnxruntime-tensorrt": [("TensorrtExecutionProvider", {}), CUDA],
}
_LOG_NOTHING, _LOG_ERRORS, _LOG_WARNINGS = 4, 3, 2


class OnnxRuntimeBackend:
    """Runs every exported file exactly as written, the local function of the custom op included.

    The file an optimiser or another backend disagrees with is judged by this one on the CPU:
    explicit Q/DQ is computed as the standard defines it, and FP16 operators without a kernel run
    in FP32 between two casts.
    """

    def __init__(
        self, model: ModelFile, *, threads: int = 0, streams: int = 1, name: str = "onnxruntime"
    ) -> None:
        """Load the model.

        Args:
            threads: CPU threads, 0 for every core.
            streams: how many batches will run at once; 0 counts as 1.
            name: one of PROVIDERS.

        Raises:
            UserError: the model cannot be loaded, or not by the provider that was asked for.
        """
        self.name = name
        self.path, self.card = model.path, model.card
        self.input_shape: InputShape = model.input_shape
        self.least_batch = model.input_shape[0] or 1
        self._threads, self.streams = threads, max(streams, 1)
        self._session = self._load(model)
        self._outputs = [output.name for output in self._session.get_outputs()]

    def _load(self, model: ModelFile, **more: Any) -> onnxruntime.InferenceSession:
        """A session; `more` are fields of SessionOptions."""
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = self._threads
        options.log_severity_level = _LOG_ERRORS  # warnings are about its own fusions
        for key, value in more.items():
            setattr(options, key, value)
        name = self.name
        wanted = PROVIDERS[name][0][0]
        missing = _prepare(wanted) if name != "onnxruntime" else ""
        try:
            with _quiet(name != "onnxruntime"):
                session = onnxruntime.InferenceSession(
                    model.proto.SerializeToString(),
                    options,
                    providers=PROVIDERS[name],
                    disabled_optimizers=WRONG_OPTIMIZERS,
                    enable_fallback=0,
                )
        except Exception as error:  # its exceptions share no base class
            reason = "; ".join(filter(None, (missing, str(error).splitlines()[0])))
            needs = _needs(name)
            raise UserError(f"{model.path}: {name} cannot load it ({reason}){needs}") from error
        if wanted not in session.get_providers():
            raise UserError(
                f"{name}: {wanted} cannot start ({missing or 'no reason given'}){_needs(name)}"
            )
        return session

    def infer(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """See `Backend.infer`."""
        results = self._session.run(
            None, {INPUT_NAME: checked(images, self.input_shape, self.path)}
        )
        return dict(zip(self._outputs, results, strict=True))

    def another(self) -> OnnxRuntimeBackend:
        """See `Backend.another`; one session runs for several threads."""
        return copy(self)

    def layer_times(self, images: NDArray[np.uint8], runs: int) -> LayerTimes:
        """See `Backend.layer_times`."""
        batch = {INPUT_NAME: checked(images, self.input_shape, self.path)}
        with tempfile.TemporaryDirectory() as folder:
            session = self._load(
                ModelFile.read(self.path),
                enable_profiling=True,
                profile_file_prefix=f"{folder}/layers",
            )
            for _ in range(runs + 1):
                session.run(None, batch)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        return by_layer(_kernel_times(events)[1:])  # the first run is none like the others

    def layer_info(self, images: NDArray[np.uint8]) -> LayerInfo:
        """See `Backend.layer_info`: the graph that is left when the optimisers are done."""
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/optimised.onnx"
            self._load(ModelFile.read(self.path), optimized_model_filepath=path)
            graph = onnx.load(path).graph
        layers = [
            {
                "Name": node.name,
                "LayerType": ".".join(filter(None, (node.domain, node.op_type))),
                "Inputs": [{"Name": name} for name in node.input if name],
                "Outputs": [{"Name": name} for name in node.output if name],
            }
            for node in graph.node
        ]
        lines = [f"{layer['Name']} ({layer['LayerType']})" for layer in layers]
        return LayerInfo(lines, layers, [value.name for value in (*graph.input, *graph.output)])

    def close(self) -> None:
        """See `Backend.close`."""
        del self._session


def _kernel_times(events: list[dict[str, Any]]) -> list[list[tuple[str, float]]]:
    """Run by run the name and milliseconds of each node in a profile of onnxruntime."""
    suffix = "_kernel_time"
    runs = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e["name"] == "model_run")
    nodes = sorted(
        (e["ts"], e["name"].removesuffix(suffix), e["dur"] / 1000)
        for e in events
        if e["name"].endswith(suffix)
    )
    return [
        [(name, ms) for began, name, ms in nodes if start <= began < end] for start, end in runs
    ]


def _prepare(provider: str) -> str:
    """Load what the provider links to from Python packages; the first library that is missing.

    Raises:
        UserError: this build of onnxruntime lacks the provider.
    """
    if provider not in onnxruntime.get_available_providers():
        raise UserError(
            f"onnxruntime {onnxruntime.__version__} has no {provider}; pip uninstall onnxruntime, "
            "then pip install onnxruntime-gpu (on a Jetson NVIDIA's wheel of it)"
        )
    if provider == "TensorrtExecutionProvider":
        with suppress(UserError):  # a system's own TensorRT needs no Python package
            module("tensorrt")
    said = io.StringIO()
    if hasattr(onnxruntime, "preload_dlls"):  # since 1.21
        with redirect_stdout(said):
            onnxruntime.preload_dlls()
    return next((line for line in said.getvalue().splitlines() if "Failed" in line), "")


@contextmanager
def _quiet(wanted: bool) -> Iterator[None]:
    """Without the library's own lines about a provider that does not start: ours says it."""
    if not wanted:
        yield
        return
    onnxruntime.set_default_logger_severity(_LOG_NOTHING)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(_LOG_WARNINGS)


def _needs(name: str) -> str:
    """What a GPU provider needs beside onnxruntime."""
    if name == "onnxruntime":
        return ""
    cuda = getattr(onnxruntime, "cuda_version", "") or "as in its documentation"
    tensorrt = ' and TensorRT 10 (pip install "tensorrt<11")' if name.endswith("tensorrt") else ""
    return (
        f"; it needs an NVIDIA driver, CUDA {cuda} and cuDNN 9 "
        f'(pip install "onnxruntime-gpu[cuda,cudnn]"){tensorrt}'
    )
