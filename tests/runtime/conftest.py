"""Hand-made models that label pixels by the nearest colour: what they must answer is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cards
import cv2
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper, parser

from emca.files import sha256
from segdata.card import ModelCard

Labels: TypeAlias = npt.NDArray[np.uint8]

CLASSES = ("sky", "road", "car", "tree")
PALETTE = ((70, 130, 180), (128, 64, 128), (0, 0, 142), (107, 142, 35))
SIZE = (48, 64)

# The nearest colour c is where 2 x·c - |c|² is largest; the attention adds far less than a margin.
GRAPH = """
<ir_version: 9, opset_import: ["" : 18, "emca" : 1]>
toy (uint8[{batch},{height},{width},3] image) => ({outputs}) {{
    pixels = Cast<to = 1>(image)
    planes = Transpose<perm = [0, 3, 1, 2]>(pixels)
    scaled = Mul(planes, per_255)
    colours = Conv(scaled, weight, bias)
    pooled = AveragePool<kernel_shape = [4, 4], strides = [4, 4]>(colours)
    rows = Reshape(pooled, flat)
    feature = Transpose<perm = [0, 2, 1]>(rows)
    mask_logits_in = MatMul(query, rows)
    attended, prototype = emca.PrototypeAttention<num_heads: int = 1>(
        query, feature, mask_logits_in)
    bounded = Tanh(attended)
    nudge = ReduceSum<keepdims = 1>(bounded, last)
    raised = Unsqueeze(nudge, last)
    plane = Mul(raised, small)
    {head}
}}
<domain: "emca", opset_import: ["" : 18]>
PrototypeAttention <num_heads> (query, feature, mask_logits) => (attended, prototype) {{
    columns = Transpose<perm = [0, 2, 1]>(feature)
    similarity = MatMul(query, columns)
    winner = ArgMax<axis = 2, keepdims = 1>(similarity)
    prototype = GatherND<batch_dims = 1>(feature, winner)
    attended = Mul(query, prototype)
}}
"""
HEADS = {
    "labels": (
        "uint8[{batch},{height},{width}] labels",
        """scores = Add(colours, plane)
    winners = ArgMax<axis = 1, keepdims = 0>(scores)
    labels = Cast<to = 2>(winners)""",
    ),
    "scores": (
        "float[{batch},{classes},{h4},{w4}] scores",
        "scores = Add(pooled, plane)",
    ),
    "masks": (
        "float[1,{classes},{more}] class_logits, float[{batch},{classes},{h4},{w4}] mask_logits",
        """class_logits = Identity(one_hot)
    centred = Add(pooled, plane)
    mask_logits = Mul(centred, gain)""",
    ),
}


def make_model(
    head: str = "labels",
    *,
    size: tuple[int, int] = SIZE,
    classes: tuple[str, ...] = CLASSES,
    palette: tuple[tuple[int, int, int], ...] = PALETTE,
    batch: int | str = 1,
    noise: float = 0.0,
) -> onnx.ModelProto:
    """A model for `palette`, its colours off by up to `noise`; without metadata."""
    count = len(classes)
    sizes = {
        "batch": batch,
        "height": size[0],
        "width": size[1],
        "h4": size[0] // 4,
        "w4": size[1] // 4,
        "classes": count,
        "more": count + 1,
    }
    outputs, body = HEADS[head]
    model = parser.parse_model(GRAPH.format(**sizes, outputs=outputs.format(**sizes), head=body))
    rng = np.random.default_rng(0)
    colours = (np.asarray(palette, np.float32) + noise * rng.uniform(-1, 1, (count, 3))) / 255
    tensors = {
        "weight": (2 * colours[:, :, None, None]).astype(np.float32),
        "bias": -(colours**2).sum(1).astype(np.float32),
        "query": rng.standard_normal((1, count, count)).astype(np.float32),
        "flat": np.array([0, count, -1], np.int64),
        "last": np.array([-1], np.int64),
        "one_hot": 20 * np.eye(count, count + 1, dtype=np.float32)[None],
        "gain": np.float32(5),
        "per_255": np.float32(1 / 255),
        "small": np.float32(1e-4),
    }
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in tensors.items()
        if name in used
    )
    onnx.checker.check_model(model)
    return model


def make_card(**changes: Any) -> ModelCard:
    """The card of such a model."""
    own = {"classes": CLASSES, "palette": PALETTE, "input_size": SIZE}
    return cards.make_card(**(own | changes))


def stripes(size: tuple[int, int] = SIZE, shift: int = 0) -> Labels:
    """A label map of all four classes in blocks of 12 pixels."""
    rows, columns = np.indices(size) // 12
    return ((rows + 2 * columns + shift) % len(CLASSES)).astype(np.uint8)


def paint(labels: Labels) -> npt.NDArray[np.uint8]:
    """The image whose every pixel has the colour of its class."""
    return np.asarray(PALETTE, np.uint8)[labels]


@dataclass(frozen=True)
class Toys:
    """Makes model files and data below a folder."""

    folder: Path

    classes = CLASSES
    palette = PALETTE
    size = SIZE
    stripes = staticmethod(stripes)
    paint = staticmethod(paint)

    def model(
        self, name: str = "model.onnx", head: str = "labels", *, card: Any = None, **options: Any
    ) -> Path:
        """A model file; `card` changes fields of its card, `options` are those of make_model."""
        model = make_model(head, **options)
        changes = {"head": head, **(card or {})}
        onnx.helper.set_model_props(model, make_card(**changes).to_props())
        path = self.folder / name
        path.write_bytes(model.SerializeToString())
        return path

    def derived(self, model: Path, precision: str, *, noise: float = 0) -> Path:
        """The file that a cast or quantisation of `model` would have left beside it."""
        card = {"precision": precision, "source_sha256": sha256(model)}
        return self.model(f"{model.stem}.{precision}.onnx", card=card, noise=noise)

    def data(
        self, name: str = "data", change: Callable[[Labels], Labels] = lambda labels: labels
    ) -> str:
        """A data set of three painted images; `change` is applied to the truth afterwards."""
        root = self.folder / name
        for index in range(3):
            labels = stripes(shift=index)
            self.picture(f"{name}/images/{index}.png", labels)
            (root / "labels").mkdir(exist_ok=True)
            cv2.imwrite(str(root / "labels" / f"{index}.png"), change(labels))
        lines = [f"{c} {r} {g} {b}" for c, (r, g, b) in zip(CLASSES, PALETTE, strict=True)]
        (root / "classes.txt").write_text("\n".join(lines))
        return f"folder:{root}"

    def picture(self, name: str, labels: Labels) -> Path:
        """An image file painted by `labels`."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.cvtColor(paint(labels), cv2.COLOR_RGB2BGR))
        return path


@pytest.fixture
def toys(tmp_path: Path) -> Toys:
    """Models that label by the nearest of four colours, and images in these colours."""
    return Toys(tmp_path)


@pytest.fixture(params=["onnxruntime", "openvino"])
def backend_name(request: pytest.FixtureRequest) -> str:
    """Each backend in turn."""
    name: str = request.param
    pytest.importorskip(name)
    return name


@pytest.fixture
def makers(monkeypatch: pytest.MonkeyPatch, toys: Toys) -> list[tuple[Any, ...]]:
    """Stand-ins for calibration that write files like it does; the list holds what was called."""
    calls: list[tuple[Any, ...]] = []

    def cast_file(source: Path, target: Path, *, data: str | None = None) -> str:
        calls.append(("fp16", source, target))
        toys.derived(source, "fp16")
        return "agrees well enough"

    def quantize_file(source: Path, target: Path, *, data: str, images: int = 64) -> str:
        calls.append(("int8", source, target, data, images))
        toys.derived(source, "int8", noise=150)
        return "agrees mostly"

    monkeypatch.setattr("calibration.fp16.cast_file", cast_file)
    monkeypatch.setattr("calibration.int8.quantize_file", quantize_file)
    return calls
