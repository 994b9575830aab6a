"""What the backends share: their interface, the model file they read, the batch they accept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]
from numpy.typing import NDArray

from emca.errors import UserError
from segdata.card import ModelCard

INPUT_NAME = "image"

InputShape = tuple[int | None, int, int, int]


class GpuTrace(NamedTuple):
    """When a query on a GPU entered and left its stages, in ms.

    The host's clock tells the enqueue, the GPU's the rest; both begin at the same moment.
    """

    start_enqueue: float
    end_enqueue: float
    start_upload: float
    end_upload: float
    start_compute: float
    end_compute: float
    start_download: float
    end_download: float

    @property
    def enqueue(self) -> float:
        """Milliseconds that the host took to hand the query over."""
        return self.end_enqueue - self.start_enqueue

    @property
    def upload(self) -> float:
        """Milliseconds of the copy of the inputs to the GPU."""
        return self.end_upload - self.start_upload

    @property
    def compute(self) -> float:
        """Milliseconds of the layers."""
        return self.end_compute - self.start_compute

    @property
    def download(self) -> float:
        """Milliseconds of the copies of the outputs from the GPU."""
        return self.end_download - self.start_download

    @property
    def latency(self) -> float:
        """Milliseconds of both copies and the layers, without the waiting between them."""
        return self.upload + self.compute + self.download


@dataclass(frozen=True)
class LayerTimes:
    """What each layer took.

    Attributes:
        runs: how many batches were run.
        layers: name and milliseconds of each of its runs, in the order of execution; a name can
            occur more than once.
    """

    runs: int
    layers: list[tuple[str, list[float]]]


@dataclass(frozen=True)
class LayerInfo:
    """The layers that a backend made of a model.

    Attributes:
        lines: one a layer, to be read.
        layers, bindings: the same for JSON, under the keys of TensorRT's engine inspector.
    """

    lines: list[str]
    layers: list[Any]
    bindings: list[Any]


class Backend(Protocol):
    """A model file that is ready to run.

    Attributes:
        name: which backend this is, as `--backend` spells it.
        path: the model file.
        card: what the file says about itself.
        input_shape: (N, H, W, 3); N is None where any batch size runs.
        least_batch: the fewest images that a batch may have: N, or the least where it is open.
        streams: how many batches it was loaded to run at once, each on one of `another`.
    """

    name: str
    path: Path
    card: ModelCard
    input_shape: InputShape
    least_batch: int
    streams: int

    def infer(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Run one batch of RGB images, uint8 [N,H,W,3]; the outputs by name, owned by the caller.

        Raises:
            UserError: the batch has another type or shape than the model takes.
        """
        ...

    def another(self) -> Backend:
        """The same model once more, for another thread; what can be shared is."""
        ...

    def layer_times(self, images: NDArray[np.uint8], runs: int) -> LayerTimes:
        """Run the batch so many times, slower than `infer`, and tell what each layer takes.

        Raises:
            UserError: the batch has another type or shape, or this backend cannot tell.
        """
        ...

    def layer_info(self, images: NDArray[np.uint8]) -> LayerInfo:
        """The layers that run a batch of this shape; UserError where they cannot be told."""
        ...

    def close(self) -> None:
        """Release what the backend holds; it cannot infer afterwards."""
        ...


class TimedQueries(Protocol):
    """Queries of one batch on a GPU."""

    def turn(self, least_ms: float, least_queries: int, origin: float) -> list[GpuTrace]:
        """At least so many over at least that time; `origin` is of time.perf_counter()."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


@runtime_checkable
class TimesItself(Protocol):
    """A backend whose GPU tells when a query went through its stages."""

    def timed(
        self, images: NDArray[np.uint8], *, streams: int = 1, transfers: bool = False
    ) -> TimedQueries:
        """Queries of this batch on so many lanes, with or without the copies."""
        ...


@dataclass(frozen=True)
class ModelFile:
    """An exported ONNX file, read and checked but not loaded into any backend yet."""

    path: Path
    proto: onnx.ModelProto
    card: ModelCard
    input_shape: InputShape

    @classmethod
    def read(cls, path: str | Path) -> ModelFile:
        """Read a file that `export.to_onnx` or `calibration` wrote.

        Raises:
            UserError: no such file, not an ONNX file, or a file of another producer.
        """
        path = Path(path)
        try:
            proto = onnx.load_from_string(path.read_bytes())
        except OSError as error:
            raise UserError(
                f"{path}: cannot read the model ({error.strerror}); check the path"
            ) from error
        except DecodeError as error:
            raise UserError(f"{path} is no complete ONNX file; export it again") from error
        if not proto.graph.node:
            raise UserError(f"{path} holds no ONNX graph; export it again")
        card = ModelCard.from_props({p.key: p.value for p in proto.metadata_props}, str(path))
        return cls(path, proto, card, _input_shape(proto.graph, path))

    @classmethod
    def read_fp32(cls, path: str | Path) -> ModelFile:
        """As `read`; UserError too where the file is another format, made from such a file."""
        file = cls.read(path)
        if file.card.precision != "fp32":
            raise UserError(
                f"{path} is {file.card.precision} already; give the FP32 file that it was made from"
            )
        return file


def by_layer(runs: Sequence[Sequence[tuple[str, float]]]) -> LayerTimes:
    """Layer times from name and milliseconds of each layer, run by run.

    The n-th layer of a name is the same one in every run.
    """
    found: dict[tuple[str, int], list[float]] = {}
    for run in runs:
        seen: dict[str, int] = {}
        for name, ms in run:
            count = seen[name] = seen.get(name, -1) + 1
            found.setdefault((name, count), []).append(ms)
    return LayerTimes(len(runs), [(name, times) for (name, _), times in found.items()])


def checked(images: NDArray[np.uint8], expected: InputShape, path: Path) -> NDArray[np.uint8]:
    """The batch, contiguous in memory; UserError where the model at `path` does not take it."""
    fits = images.dtype == np.uint8 and images.ndim == 4 and images.shape[1:] == expected[1:]
    if not fits or images.shape[0] != (expected[0] or max(images.shape[0], 1)):
        shape = ", ".join("N" if size is None else str(size) for size in expected)
        raise UserError(
            f"{path} takes images of uint8 [{shape}], got {images.dtype} "
            f"{list(images.shape)}; fit the images or export with another --size"
        )
    return np.ascontiguousarray(images)


def _input_shape(graph: onnx.GraphProto, path: Path) -> InputShape:
    """The shape of the one input; UserError unless it is uint8 [N,H,W,3] with fixed H and W."""
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    tensors = [value.type.tensor_type for value in inputs]
    if len(inputs) == 1 and inputs[0].name == INPUT_NAME:
        batch, *rest = [dim.dim_value or None for dim in tensors[0].shape.dim] or [None]
        if tensors[0].elem_type == onnx.TensorProto.UINT8 and len(rest) == 3 and rest[2] == 3:
            height, width = rest[:2]
            if height and width:
                return batch, height, width, 3
    found = ", ".join(value.name for value in inputs) or "none"
    raise UserError(
        f"{path} must have one input `{INPUT_NAME}`, uint8 [N,H,W,3] of fixed size "
        f"(inputs: {found}); export it with export.to_onnx"
    )
