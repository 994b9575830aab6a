"""What the backends share: their interface, the model file they read, the batch they accept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]
from numpy.typing import NDArray

from segdata.card import ModelCard
from segdata.errors import UserError

INPUT_NAME = "image"

InputShape = tuple[int | None, int, int, int]


class Backend(Protocol):
    """A model file that is ready to run.

    Attributes:
        name: which backend this is, as `--backend` spells it.
        path: the model file.
        card: what the file says about itself.
        input_shape: (N, H, W, 3); N is None where any batch size runs.
    """

    name: str
    path: Path
    card: ModelCard
    input_shape: InputShape

    def infer(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Run one batch of RGB images, uint8 [N,H,W,3]; the outputs by name, owned by the caller.

        Raises:
            UserError: the batch has another type or shape than the model takes.
        """
        ...

    def close(self) -> None:
        """Release what the backend holds; it cannot infer afterwards."""
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
            raise UserError(f"{path}: cannot read the model ({error.strerror})") from error
        except DecodeError as error:
            raise UserError(f"{path} is no complete ONNX file; export it again") from error
        if not proto.graph.node:
            raise UserError(f"{path} holds no ONNX graph; export it again")
        card = ModelCard.from_props({p.key: p.value for p in proto.metadata_props}, str(path))
        return cls(path, proto, card, _input_shape(proto.graph, path))


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
