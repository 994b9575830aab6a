"""The fast CPU backend: OpenVINO."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from onnx import inliner

from runtime.backends.argmax import replace_argmax
from runtime.backends.base import INPUT_NAME, InputShape, ModelFile, checked
from runtime.backends.zero_points import shift_activations
from segdata.errors import UserError


class OpenVinoBackend:
    """Runs every exported file on the CPU; the fastest backend there for FP32 and INT8 alike."""

    name = "openvino"

    def __init__(self, model: ModelFile, *, threads: int = 0) -> None:
        """Load the model; threads = 0 takes every core. UserError where it cannot be loaded."""
        self.path, self.card = model.path, model.card
        self.input_shape: InputShape = model.input_shape
        # OpenVINO does not know ONNX local functions: put their bodies in place of the calls.
        inlined = replace_argmax(inliner.inline_local_functions(model.proto))
        shift_activations(inlined)
        config: dict[str, str | int] = {
            "PERFORMANCE_HINT": "LATENCY",
            # By default CPUs with bfloat16 units would compute an FP32 file in bfloat16: faster,
            # but then nothing measured here would describe FP32. FP16 files are widened to FP32.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        if threads:
            config["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        try:
            network = core.read_model(inlined.SerializeToString())
            self._request = core.compile_model(network, "CPU", config).create_infer_request()
        except RuntimeError as error:
            # Many lines: what could not be converted stands first in the summary at their end.
            _, found, summary = str(error).rpartition("Summary:\n")
            reason = summary.splitlines()[0] if found else str(error).strip().splitlines()[-1]
            raise UserError(f"{model.path}: OpenVINO cannot load it ({reason})") from error

    def infer(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """See `Backend.infer`."""
        results = self._request.infer(
            {INPUT_NAME: checked(images, self.input_shape, self.path)}, share_inputs=True
        )
        # The next call overwrites the request's own buffers, so the caller gets copies.
        return {port.get_any_name(): np.array(value) for port, value in results.items()}

    def close(self) -> None:
        """See `Backend.close`."""
        del self._request
