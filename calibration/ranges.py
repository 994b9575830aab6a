"""Ranges of activations over real images: what INT8 has to represent of each tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, TensorProto, helper

from calibration.graph import Array, shapes
from calibration.histogram import Histogram, entropy_range, mse_range, percentile_range
from segdata.cli import progress
from segdata.errors import UserError

PERCENTILE = 99.99
MEMORY = 1 << 30  # bytes of activations that are held at a time


class Observer(Protocol):
    """Sees a tensor image by image and gives its range in the end."""

    def see(self, values: Array, largest: float) -> None: ...

    def range(self) -> float: ...


class _MinMax:
    """The largest absolute value ever seen."""

    def __init__(self) -> None:
        self.largest = 0.0

    def see(self, values: Array, largest: float) -> None:
        self.largest = max(self.largest, largest)

    def range(self) -> float:
        return self.largest


class _ByHistogram:
    """A range chosen from the distribution of absolute values."""

    def __init__(self, choose: Callable[[Histogram], float]) -> None:
        self.histogram = Histogram()
        self.choose = choose

    def see(self, values: Array, largest: float) -> None:
        self.histogram.add(np.abs(values), largest)

    def range(self) -> float:
        return self.choose(self.histogram)


METHODS: dict[str, Callable[[], Observer]] = {
    "minmax": _MinMax,
    "entropy": lambda: _ByHistogram(entropy_range),
    "mse": lambda: _ByHistogram(mse_range),
    "percentile": lambda: _ByHistogram(lambda histogram: percentile_range(histogram, PERCENTILE)),
}


def measure(
    model: ModelProto, tensors: Iterable[str], images: Sequence[Array], method: str
) -> dict[str, float]:
    """Run the float model on every image; the range of each tensor by the method's rule.

    Args:
        model: an FP32 model with one uint8 input [N,H,W,3].
        tensors: names of float tensors in it.
        images: uint8 [H,W,3] of the model's input size, seen one at a time.
        method: a key of METHODS.

    Raises:
        UserError: a tensor that is NaN or infinite on some image.
    """
    observers = {name: METHODS[method]() for name in sorted(tensors)}
    groups = _groups(model, list(observers))
    for number, group in enumerate(groups, start=1):
        session = _session_with_outputs(model, group)
        value = session.get_inputs()[0]
        batch = value.shape[0] if isinstance(value.shape[0], int) else 1
        for image in progress(images, desc=f"calibration {number}/{len(groups)}"):
            feed = {value.name: np.repeat(image[None], batch, axis=0)}
            for name, values in zip(group, session.run(group, feed), strict=True):
                observers[name].see(values, _largest(name, values))
    return {name: observer.range() for name, observer in observers.items()}


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
