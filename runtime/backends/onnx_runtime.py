"""The reference backend: onnxruntime on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from runtime.backends.base import INPUT_NAME, InputShape, ModelFile, checked
from segdata.errors import UserError

# onnxruntime 1.31 quantises the bias of a layer that reads and writes INT8 by the product of both
# scales. In FP16, which ours are in, that product is 0 or nearly: a PIDNet of ours kept 78 % of
# its labels with this optimiser and 99 % without.
WRONG_OPTIMIZERS = ["WeightBiasQuantization"]


class OnnxRuntimeBackend:
    """Runs every exported file exactly as written, the local function of the custom op included.

    The file an optimiser or another backend disagrees with is judged by this one: explicit Q/DQ
    is computed as the standard defines it, and FP16 operators without a kernel run in FP32
    between two casts.
    """

    name = "onnxruntime"

    def __init__(self, model: ModelFile, *, threads: int = 0) -> None:
        """Load the model; threads = 0 takes every core. UserError where it cannot be loaded."""
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors only: warnings are about its own fusions
        self.path, self.card = model.path, model.card
        self.input_shape: InputShape = model.input_shape
        try:
            self._session = onnxruntime.InferenceSession(
                model.proto.SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=WRONG_OPTIMIZERS,
            )
        except Exception as error:  # its exceptions share no base class
            reason = str(error).splitlines()[0]
            raise UserError(f"{model.path}: onnxruntime cannot load it ({reason})") from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def infer(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """See `Backend.infer`."""
        results = self._session.run(
            None, {INPUT_NAME: checked(images, self.input_shape, self.path)}
        )
        return dict(zip(self._outputs, results, strict=True))

    def close(self) -> None:
        """See `Backend.close`."""
        del self._session
