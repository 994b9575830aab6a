"""Ranges of activations over real images: what INT8 has to represent of each tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, TensorProto, helper

from calibration.ranges.histogram import Histogram, entropy_range, mse_range, percentile_range
from calibration.rewrite.edit import Array
from emca.cli import progress
from emca.errors import UserError, nearest
from runtime.graph.reading import shapes

PERCENTILE = 99.99
MEMORY = 1 << 30  # bytes of activations that are held at a time


METHODS: dict[str, Callable[[Histogram], float]] = {
    "minmax": lambda histogram: histogram.largest,
    "entropy": entropy_range,
    "mse": mse_range,
    "percentile": lambda histogram: percentile_range(histogram, PERCENTILE),
}
_WITHOUT_COUNTS = {"minmax"}


def check_method(method: str) -> None:
    """UserError unless it is a key of METHODS."""
    if method not in METHODS:
        raise UserError(
            f"no calibration method {method!r}{nearest(method, METHODS)}; "
            f"there are {', '.join(METHODS)}"
        )


def measure(
    model: ModelProto, tensors: Iterable[str], images: Sequence[Array], methods: Collection[str]
) -> dict[str, dict[str, float]]:
    """Run the float model on every image; the range of each tensor by each method's rule.

    Args:
        model: an FP32 model with one uint8 input [N,H,W,3].
        tensors: names of float tensors in it.
        images: uint8 [H,W,3] of the model's input size, seen one at a time.
        methods: keys of METHODS.

    Returns:
        Method -> tensor -> largest absolute value that INT8 shall represent; 0 where the tensor
        is 0 on every image.

    Raises:
        UserError: a tensor that is NaN or infinite on some image.
    """
    histograms = {name: Histogram() for name in sorted(tensors)}
    counted = not _WITHOUT_COUNTS.issuperset(methods)
    groups = _groups(model, list(histograms))
    for number, group in enumerate(groups, start=1):
        session = _session_with_outputs(model, group)
        value = session.get_inputs()[0]
        batch = value.shape[0] if isinstance(value.shape[0], int) else 1
        for image in progress(images, desc=f"calibration {number}/{len(groups)}"):
            feed = {value.name: np.repeat(image[None], batch, axis=0)}
            for name, values in zip(group, session.run(group, feed), strict=True):
                histograms[name].add(np.abs(values) if counted else None, _largest(name, values))
    return {
        method: {name: METHODS[method](histogram) for name, histogram in histograms.items()}
        for method in methods
    }


def _largest(name: str, values: Array) -> float:
    largest = float(max(values.max(), -values.min()))
    if not np.isfinite(largest):
        raise UserError(
            f"tensor {name!r} is {largest} on a calibration image; "
            "the weights are broken, train or export again"
        )
    return largest


def _groups(model: ModelProto, tensors: list[str]) -> list[list[str]]:
    """The tensors in groups that fit into MEMORY; each group costs a run over the images."""
    sizes = shapes(model)
    groups: list[list[str]] = []
    room = 0
    for name in tensors:
        size = 4 * math.prod(dim or 1 for dim in sizes.get(name, []))
        if size > room:
            groups.append([])
            room = MEMORY
        groups[-1].append(name)
        room -= size
    return groups


def _session_with_outputs(model: ModelProto, tensors: list[str]) -> onnxruntime.InferenceSession:
    """A session that returns the tensors; local functions stay, onnxruntime inlines them."""
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    known = {output.name for output in observed.graph.output}
    observed.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in tensors
        if name not in known
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        observed.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
