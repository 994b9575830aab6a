"""Estimated latencies on a T4 beside published ones of the same networks.

python benchmarks/roofline_fit.py [-o benchmarks/roofline_fit.json]

The networks are built anew, layer by layer, with weights that cost no time. The figures are those
that the shares in calibration/estimate/devices.py were fitted to, except ResNet-18, left out.
Published: mmdeploy, docs/en/03-benchmark/benchmark.md (TensorRT 7.2), and Paddle Inference 2.3, GPU
benchmark (TensorRT 8.0), where two are given the mean counts; ResNet-18 from a user's release note.
"""

from __future__ import annotations

import math
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from calibration.estimate.devices import find_device
from calibration.rewrite.mixes import Mixes
from calibration.roofline import estimate, milliseconds
from emca.cli import Parser, run
from runtime.results.output import json_output, origin

DEVICE = "t4"
# Milliseconds for FP32, FP16 and INT8.
PUBLISHED: dict[str, dict[str, float]] = {
    "ResNet-50": {"fp32": 3.245, "fp16": 1.28, "int8": 1.21},
    "ResNet-50, batch 2": {"fp32": 5.21, "fp16": 1.90},
    "ResNet-50, batch 4": {"fp32": 9.37, "fp16": 3.18},
    "ResNeXt-50": {"fp32": 4.31, "fp16": 1.42, "int8": 1.37},
    "MobileNetV1": {"fp32": 0.87, "fp16": 0.49},
    "MobileNetV1, batch 4": {"fp32": 2.52, "fp16": 1.29},
    "FCN, 512x1024": {"fp32": 128.42, "fp16": 23.97, "int8": 18.13},
    "PSPNet, 512x1024": {"fp32": 119.77, "fp16": 24.10, "int8": 16.33},
    "DeepLabV3, 512x1024": {"fp32": 226.75, "fp16": 31.80, "int8": 19.85},
    "ResNet-18": {"fp32": 2.26, "fp16": 1.01},
}
LEFT_OUT = "ResNet-18"


class Builder:
    """Appends nodes; every method returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def conv(
        self, x: str, before: int, after: int, kernel: int, stride: int = 1, dilation: int = 1,
        group: int = 1, relu: bool = True,
    ) -> str:  # fmt: skip
        weight = np.full((after, before // group, kernel, kernel), 0.01, np.float32)
        inputs = x, self.constant(weight), self.constant(np.zeros(after, np.float32))
        y = self.op(
            "Conv", *inputs, strides=[stride] * 2, pads=[dilation * (kernel // 2)] * 4,
            dilations=[dilation] * 2, group=group,
        )  # fmt: skip
        return self.op("Relu", y) if relu else y

    def resize(self, x: str, shape: list[int]) -> str:
        return self.op("Resize", x, "", "", self.constant(np.array(shape, np.int64)), mode="linear")

    def model(self, inputs: list[int], output: list[int], kind: int) -> ModelProto:
        """The network that ends with the last node."""
        self.nodes[-1].output[0] = "out"
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, inputs)],
            [helper.make_tensor_value_info("out", kind, output)],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def resnet(
    b: Builder, stem: str, blocks: tuple[int, ...], *, bottleneck: bool, wide: int = 1,
    group: int = 1, strides: tuple[int, ...] = (1, 2, 2, 2), dilations: tuple[int, ...] = (1,) * 4,
) -> str:  # fmt: skip
    """The stages of a ResNet or ResNeXt after the stem of 64 channels, batch norm folded."""
    x = b.op("MaxPool", stem, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    before = 64
    for stage, (count, stride, dilation) in enumerate(zip(blocks, strides, dilations, strict=True)):
        inner = 64 * 2**stage * wide
        after = 64 * 2**stage * (4 if bottleneck else 1)
        for place in range(count):
            step, shortcut = stride if place == 0 else 1, x
            if place == 0 and (before != after or step > 1):
                shortcut = b.conv(x, before, after, 1, step, relu=False)
            if bottleneck:
                y = b.conv(x, before, inner, 1)
                y = b.conv(y, inner, inner, 3, step, dilation, group)
                y = b.conv(y, inner, after, 1, relu=False)
            else:
                y = b.conv(b.conv(x, before, inner, 3, step), inner, after, 3, relu=False)
            x, before = b.op("Relu", b.op("Add", y, shortcut)), after
    return x


def classified(b: Builder, x: str, width: int, batch: int) -> ModelProto:
    """A classifier of 1,000 classes at 224x224."""
    x = b.op("Flatten", b.op("GlobalAveragePool", x))
    weight, bias = np.full((width, 1000), 0.01, np.float32), np.zeros(1000, np.float32)
    b.op("Gemm", x, b.constant(weight), b.constant(bias))
    return b.model([batch, 3, 224, 224], [batch, 1000], TensorProto.FLOAT)


def resnet_classifier(depth: int = 50, batch: int = 1, **options: int) -> ModelProto:
    """ResNet-18 or -50."""
    b, bottleneck = Builder(), depth == 50
    blocks = (3, 4, 6, 3) if bottleneck else (2, 2, 2, 2)
    x = resnet(b, b.conv("image", 3, 64, 7, 2), blocks, bottleneck=bottleneck, **options)
    return classified(b, x, 2048 if bottleneck else 512, batch)


def mobilenet(batch: int = 1) -> ModelProto:
    """MobileNetV1."""
    b = Builder()
    x, before = b.conv("image", 3, 32, 3, 2), 32
    halves = {64: 1, 128: 2, 256: 2, 512: 2, 1024: 2}
    for after in (64, 128, 128, 256, 256, *[512] * 6, 1024, 1024):
        stride = halves[after] if before != after else 1
        x = b.conv(b.conv(x, before, before, 3, stride, group=before), before, after, 1)
        before = after
    return classified(b, x, before, batch)


def segmenter(kind: str) -> ModelProto:
    """FCN, PSPNet or DeepLabV3 with ResNet-50-D8, 19 classes."""
    b, (height, width) = Builder(), (64, 128)
    stem = b.conv(b.conv(b.conv("image", 3, 32, 3, 2), 32, 32, 3), 32, 64, 3)
    features = resnet(
        b, stem, (3, 4, 6, 3), bottleneck=True, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)
    )
    if kind == "fcn":
        y = b.conv(b.conv(features, 2048, 512, 3), 512, 512, 3)
        y = b.conv(b.op("Concat", features, y, axis=1), 2560, 512, 3)
    elif kind == "psp":
        parts = [features]
        for bins in (1, 2, 3, 6):
            cell = [height // bins, width // bins]
            pooled = b.op("AveragePool", features, kernel_shape=cell, strides=cell)
            parts.append(b.resize(b.conv(pooled, 2048, 512, 1), [1, 512, height, width]))
        y = b.conv(b.op("Concat", *parts, axis=1), 4096, 512, 3)
    else:
        pooled = b.conv(b.op("GlobalAveragePool", features), 2048, 512, 1)
        parts = [b.resize(pooled, [1, 512, height, width]), b.conv(features, 2048, 512, 1)]
        parts += [b.conv(features, 2048, 512, 3, dilation=d) for d in (12, 24, 36)]
        y = b.conv(b.op("Concat", *parts, axis=1), 2560, 512, 3)
    y = b.resize(b.conv(y, 512, 19, 1, relu=False), [1, 19, 512, 1024])
    b.op("ArgMax", y, axis=1)
    return b.model([1, 3, 512, 1024], [1, 1, 512, 1024], TensorProto.INT64)


NETWORKS = {
    "ResNet-50": resnet_classifier,
    "ResNet-50, batch 2": lambda: resnet_classifier(batch=2),
    "ResNet-50, batch 4": lambda: resnet_classifier(batch=4),
    "ResNeXt-50": lambda: resnet_classifier(wide=2, group=32),
    "MobileNetV1": mobilenet,
    "MobileNetV1, batch 4": lambda: mobilenet(4),
    "FCN, 512x1024": lambda: segmenter("fcn"),
    "PSPNet, 512x1024": lambda: segmenter("psp"),
    "DeepLabV3, 512x1024": lambda: segmenter("deeplab"),
    "ResNet-18": lambda: resnet_classifier(18),
}


def main(argv: list[str] | None = None) -> None:
    """Estimate every network in every format, print and write the table."""
    parser = Parser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    rows, errors = [], []
    for name, build in NETWORKS.items():
        mixes = Mixes(model := build())
        every = list(mixes.blocks)
        mixes.ranges = dict.fromkeys(mixes.tensors(every), 1.0)
        versions = {"fp32": model, "fp16": mixes.build(()), "int8": mixes.build(every)}
        for precision, version in versions.items():
            ms = milliseconds(estimate(version, find_device(DEVICE)))
            published = PUBLISHED[name].get(precision)
            rows.append({"network": name, "format": precision,
                         "estimated_ms": round(ms, 2), "published_ms": published})  # fmt: skip
            print(rows[-1])
            if published and name != LEFT_OUT:
                errors.append(abs(math.log(ms / published)))
    summary = {
        "mean absolute log error": round(sum(errors) / len(errors), 3),
        "largest": round(max(errors), 3),
        "left out of the fit": LEFT_OUT,
    }
    print(summary)
    with json_output(args.output) as write:
        command = shlex.join(["python", "benchmarks/roofline_fit.py", *words])
        write(origin(command) | {"device": DEVICE, "summary": summary, "rows": rows})


if __name__ == "__main__":
    run(main)
