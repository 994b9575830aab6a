"""Preprocessing and postprocessing inside the model file, for images of one size.

python -m runtime.embed MODEL.onnx --source HxW [-o MODEL.HxW.onnx]

The new file takes the uint8 image as a camera delivers it and gives uint8 labels of its size: what
`segdata.preprocess.fit` and `restore` do is part of the graph, so on a GPU nothing else crosses the
bus and the CPU does no work. Make it last, of an FP32, FP16 or INT8 file alike.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from emca.cli import Parser, parse_size, progress, run
from emca.errors import UserError
from emca.files import atomic_path, sha256
from runtime.backends import ModelFile
from runtime.backends.base import INPUT_NAME
from runtime.backends.onnx_runtime import OnnxRuntimeBackend
from runtime.evaluate import predict
from runtime.results import machine
from segdata.datasets import open_dataset
from segdata.preprocess import PADDING, fitted, nearest

OUTPUT_NAME = "labels"
SIDES = range(16, 16385)
TRIAL_IMAGES = 4
LEAST_AGREEMENT = 0.95


def embed(file: ModelFile, source: tuple[int, int]) -> ModelFile:
    """The model with `fit` before and `restore` behind it, for images of `source` (h, w).

    Labels are restored exactly. The image is scaled in float and rounded, which can differ from
    OpenCV's fixed-point arithmetic by one grey level.

    Raises:
        UserError: the model has another head, or takes this size already.
    """
    if file.card.head != OUTPUT_NAME:
        raise UserError(
            f"{file.path} puts out {file.card.head}; export it with --head labels for runtime.embed"
        )
    if file.card.input_size == source:
        raise UserError(f"{file.path} takes {source[0]}x{source[1]} as it is; nothing to embed")
    model = ModelProto()
    model.CopyFrom(file.proto)
    size = file.card.input_size
    _fit(model, source, size, file.path)
    _restore(model, source, size, file.path)
    _declare(model, source)
    card = dataclasses.replace(
        file.card, input_size=source, source_sha256=sha256(file.path), ranges={}
    )
    helper.set_model_props(model, card.to_props())
    onnx.checker.check_model(model, full_check=True)
    shape = (file.input_shape[0], *source, 3)
    return ModelFile(file.path, model, card, shape)


def agreement(plain: ModelFile, embedded: ModelFile, data: str) -> float:
    """Share of pixels, 0..1, that both label alike on a few images of a data spec."""
    before, after = OnnxRuntimeBackend(plain), OnnxRuntimeBackend(embedded)
    dataset = open_dataset(data, labels=False)
    height, width = embedded.card.input_size
    same = []
    for index in progress(range(min(len(dataset), TRIAL_IMAGES)), desc="comparing"):
        image = cv2.resize(dataset[index].image, (width, height), interpolation=cv2.INTER_AREA)
        pixels = np.asarray(image, dtype=np.uint8)
        same.append(float((predict(before, pixels) == predict(after, pixels)).mean()))
    return float(np.mean(same))


def _fit(model: ModelProto, source: tuple[int, int], size: tuple[int, int], path: Path) -> None:
    """Scale and pad behind the first two nodes, which make uint8 NHWC to float NCHW."""
    graph = model.graph
    if any(node.name.startswith(("fit/", "restore/")) for node in graph.node):
        raise UserError(f"{path} has its preprocessing inside; give the file it was made from")
    first, second = graph.node[:2]
    if (first.op_type, second.op_type) != ("Cast", "Transpose") or first.input[0] != INPUT_NAME:
        raise UserError(f"{path} does not begin as exported files do; export the checkpoint again")
    height, width = fitted(source, size)
    below, right = size[0] - height, size[1] - width
    nodes: list[NodeProto] = []

    def add(operator: str, **attributes: Any) -> None:
        """A node behind the last one; inputs beside it are constants, None where left out."""
        constants = attributes.pop("constants", ())
        output = f"fit/{operator}_{len(nodes)}"
        inputs = [nodes[-1].output[0] if nodes else second.output[0]]
        inputs += [_constant(model, f"{output}/{k}", c) for k, c in enumerate(constants)]
        nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))

    if (height, width) != source:
        add("Resize", constants=(None, None, np.array([height, width], np.int64)), axes=[2, 3],
            mode="linear", coordinate_transformation_mode="half_pixel")  # fmt: skip
        # Halves go up, as OpenCV has them when it halves an image; Round would take the even one.
        add("Add", constants=(np.array(0.5, np.float32),))
        add("Floor")
    if below or right:
        # Zeros are what Pad writes in every runtime, so the colour of the padding becomes zero.
        colour = np.array(PADDING, np.float32).reshape(1, 3, 1, 1)
        add("Sub", constants=(colour,))
        add("Pad", constants=(np.array([0, 0, 0, 0, 0, 0, below, right], np.int64),))
        add("Add", constants=(colour,))
    for reader in graph.node[2:]:
        for place, name in enumerate(reader.input):
            if name == second.output[0]:
                reader.input[place] = nodes[-1].output[0]
    _insert(model, 2, nodes)


def _restore(model: ModelProto, source: tuple[int, int], size: tuple[int, int], path: Path) -> None:
    """Pick the nearest label for each pixel of the source, before the last node makes it uint8."""
    last = model.graph.node[-1]
    if last.op_type != "Cast" or list(last.output) != [OUTPUT_NAME]:
        raise UserError(f"{path} does not end as exported files do; export the checkpoint again")
    nodes = []
    for axis, (length, inside) in enumerate(zip(source, fitted(source, size), strict=True), 1):
        name = f"restore/Gather_{axis}"
        places = _constant(model, f"{name}/places", nearest(inside, length))
        nodes.append(helper.make_node("Gather", [last.input[0], places], [name], name, axis=axis))
        last.input[0] = name
    _insert(model, len(model.graph.node) - 1, nodes)


def _constant(model: ModelProto, name: str, value: NDArray[Any] | None) -> str:
    if value is None:
        return ""
    model.graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def _insert(model: ModelProto, place: int, nodes: list[NodeProto]) -> None:
    every = [*model.graph.node[:place], *nodes, *model.graph.node[place:]]
    del model.graph.node[:]
    model.graph.node.extend(every)


def _declare(model: ModelProto, source: tuple[int, int]) -> None:
    """Height and width of the input and of the labels."""
    for value in (model.graph.input[0], model.graph.output[0]):
        for dim, side in zip(value.type.tensor_type.shape.dim[1:3], source, strict=True):
            dim.dim_value = side
    del model.graph.value_info[:]


def main(argv: list[str] | None = None) -> None:
    """The command line; see the top of this file."""
    parser = Parser(prog="python -m runtime.embed", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", type=Path, help="ONNX file of export.to_onnx or calibration")
    parser.add_argument("--source", required=True, metavar="HxW", help="size of the images")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE")
    parser.add_argument("--data", metavar="NAME:PATH[:SPLIT]", help="images to compare labels on")
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    height, width = source = parse_size(args.source, "--source")
    if height not in SIDES or width not in SIDES:
        raise UserError(f"--source {args.source}: sides are {SIDES[0]} to {SIDES[-1]} pixels")
    file = ModelFile.read(args.model)
    target = args.output or args.model.with_suffix(f".{height}x{width}.onnx")
    if target.suffix != ".onnx" or target.resolve() == args.model.resolve():
        raise UserError(f"-o {target} is no name of a new model; give one that ends in .onnx")
    command = machine.command_line("runtime.embed", words)
    file = dataclasses.replace(file, card=dataclasses.replace(file.card, command=command))
    embedded = embed(file, source)
    data = f"scenes:n={TRIAL_IMAGES}:val" if args.data is None else args.data
    same = agreement(file, embedded, data)
    if same < LEAST_AGREEMENT:
        raise UserError(
            f"{args.model}: with preprocessing inside only {100 * same:.2f} % of the labels stay; "
            "leave it outside"
        )
    with atomic_path(target) as path:
        onnx.save(embedded.proto, path)
    print(f"labels agree with preprocessing outside on {100 * same:.2f} % of pixels of {data}")
    print(f"{target}: takes and gives {height}x{width}, no preprocessing needed")


if __name__ == "__main__":
    run(main)
