"""The fast CPU backend: OpenVINO."""

from __future__ import annotations

from copy import copy
from functools import cache
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from onnx import inliner

from emca.errors import UserError
from runtime.backends.base import (
    INPUT_NAME,
    InputShape,
    LayerInfo,
    LayerTimes,
    ModelFile,
    checked,
)
from runtime.backends.ov import layers as open_vino_layers
from runtime.backends.ov.argmax import replace_argmax
from runtime.backends.ov.zero_points import shift_activations

DEVICE = "CPU"
# What every network is compiled with, here and in C++, which reads it from the converted file.
CONFIG = {
    "PERFORMANCE_HINT": "LATENCY",
    # By default CPUs with bfloat16 units would compute an FP32 file in bfloat16: faster, but then
    # nothing measured here would describe FP32. FP16 files are widened to FP32.
    "INFERENCE_PRECISION_HINT": "f32",
}
# OpenVINO looks NumPy up at the first array, type and result. Where two threads come to one of them
# first at once, the second waits for that lookup and holds Python's lock, which the lookup needs
# (2026.4). So all three happen here, while the module is imported.
_first = openvino.Tensor(np.zeros(1, np.uint8), shared_memory=True)
_first.element_type.to_dtype(), _first.data


@cache
def core() -> openvino.Core:
    """The one OpenVINO of the process.

    A second would do harm: each with a CPU network sets its own stack for signal handlers and,
    when it goes, puts back the one before. Where the first goes first, the last puts back freed
    memory, and the next Ctrl-C or SIGTERM crashes the process (sigstack_manager.cpp of 2026.4).
    """
    return openvino.Core()


def read_network(model: ModelFile) -> openvino.Model:
    """The graph in the form that OpenVINO runs fast and right; RuntimeError where it cannot."""
    # OpenVINO does not know ONNX local functions: put their bodies in place of the calls.
    inlined = replace_argmax(inliner.inline_local_functions(model.proto))
    shift_activations(inlined)
    return core().read_model(inlined.SerializeToString())


def refusal(model: ModelFile, error: RuntimeError) -> UserError:
    """What OpenVINO has against a model, in one line."""
    # Many lines: what could not be converted stands first in the summary at their end.
    _, found, summary = str(error).rpartition("Summary:\n")
    reason = summary.splitlines()[0] if found else str(error).strip().splitlines()[-1]
    return UserError(f"{model.path}: OpenVINO cannot load it ({reason})")


class OpenVinoBackend:
    """Runs every exported file on the CPU; the fastest backend there for FP32 and INT8 alike."""

    name = "openvino"

    def __init__(self, model: ModelFile, *, threads: int = 0, streams: int = 1) -> None:
        """Load the model.

        Args:
            threads: CPU threads, 0 for every core.
            streams: how many batches shall run at once, see `another`; 0 for as many as give the
                most images per second, each of which then takes longer.

        Raises:
            UserError: it cannot be loaded.
        """
        self.path, self.card = model.path, model.card
        self.input_shape: InputShape = model.input_shape
        self.least_batch = model.input_shape[0] or 1
        self._config: dict[str, str | int | bool] = {**CONFIG}
        if threads:
            self._config["INFERENCE_NUM_THREADS"] = threads
        if streams > 1:
            self._config["NUM_STREAMS"] = streams
        elif streams == 0:
            self._config["PERFORMANCE_HINT"] = "THROUGHPUT"
        self._network = self._compile(model)
        self.streams = streams or self._network.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._request = self._network.create_infer_request()

    def infer(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """See `Backend.infer`."""
        results = self._request.infer(
            {INPUT_NAME: checked(images, self.input_shape, self.path)}, share_inputs=True
        )
        # The next call overwrites the request's own buffers, so the caller gets copies.
        return {port.get_any_name(): np.array(value) for port, value in results.items()}

    def another(self) -> OpenVinoBackend:
        """See `Backend.another`; they run at once as far as there are `streams`."""
        other = copy(self)
        other._request = self._network.create_infer_request()
        return other

    def layer_times(self, images: NDArray[np.uint8], runs: int) -> LayerTimes:
        """See `Backend.layer_times`."""
        network = self._compile(ModelFile.read(self.path), PERF_COUNT=True)
        request = network.create_infer_request()
        batch = {INPUT_NAME: checked(images, self.input_shape, self.path)}
        request.infer(batch)  # the first run is none like the others
        return open_vino_layers.layer_times(request, batch, runs)

    def layer_info(self, images: NDArray[np.uint8]) -> LayerInfo:
        """See `Backend.layer_info`."""
        return open_vino_layers.layer_info(self._network)

    def close(self) -> None:
        """See `Backend.close`."""
        del self._request, self._network

    def _compile(self, model: ModelFile, **more: bool) -> openvino.CompiledModel:
        try:
            return core().compile_model(read_network(model), DEVICE, {**self._config, **more})
        except RuntimeError as error:
            raise refusal(model, error) from error
