"""What a model would cost on a GPU not at hand: `python -m calibration.roofline MODEL.onnx`.

A kernel (`estimate.kernels`) takes the longer of two times, that of its arithmetic at the share
of the peak that real layers reach and that of its reads and writes at the bandwidth of the memory
(the roofline model, Williams et al., CACM 2009), and what any kernel takes besides. It is an
estimate, for choosing between versions of one model. **Nothing of it has been measured on such a
device.** It leaves out caches, what `estimate.kernels` leaves out, kernels that run side by
side, clocks that fall with power and heat, and the copies between host and device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto, NodeProto, TensorProto, helper

from calibration.estimate.devices import DEFAULT_DEVICE, DEVICES, Device, find_device
from calibration.estimate.kernels import Access, Kernel, kernels
from calibration.rewrite.edit import element_types
from emca.cli import Parser, run
from emca.errors import UserError
from plugins import DEFORMABLE_ATTENTION, DEFORMABLE_CONVOLUTION, OP_TYPE
from runtime.backends.base import ModelFile
from runtime.graph.flops import inlined, known_shapes, with_batch_one
from runtime.graph.op_counts import COUNTERS, Sizes, UnknownShape
from runtime.graph.reading import attribute

FORMATS = ("int8", "fp16", "fp32")

# Multiples to which TensorRT pads the channels of a convolution, and both inner sizes of a matrix
# product, for the tensor cores ("Optimizing TensorRT Performance", optimizing for tensor cores).
_ALIGNMENT = {"int8": 32, "fp16": 8}
# How many values the ordinary cores take at once, which channels are padded to as well (TensorRT's
# formats kCHW4 and kCHW2).
_VECTOR = {"int8": 4, "fp16": 2}
_PLUGINS = {DEFORMABLE_ATTENTION, DEFORMABLE_CONVOLUTION}  # run on the ordinary cores
_FLOATS = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16"}  # widest first
_SHOWN = 10


@dataclass(frozen=True)
class LayerCost:
    """What one kernel would cost.

    Attributes:
        name: of the node that tells what it is.
        op: operator of that node.
        format: "int8", "fp16" or "fp32": what it computes in, or, where it only moves values,
            what it makes. A kernel that quantises or dequantises counts as INT8, which it is for.
        flops: operations of convolutions, products and attention, 2 per multiply-accumulate.
        bytes: read and written.
        microseconds: at the device asked for.
        bound: what takes most of them: "compute", "memory" or "launch".
        outputs: first outputs of the nodes that run in it.
    """

    name: str
    op: str
    format: str
    flops: int
    bytes: int
    microseconds: float
    bound: str
    outputs: tuple[str, ...]


def estimate(model: ModelProto, device: Device) -> list[LayerCost]:
    """The cost of each kernel, in an order in which they can run.

    Args:
        model: in FP32, as of `calibration.fp16`, or with Q/DQ as of `calibration.int8`; an open
            batch size is taken as one.

    Raises:
        UserError: another size is open.
    """
    model = inlined(with_batch_one(model))
    types = element_types(model)
    pricer = _Pricer(device, types, _shapes(model))
    try:
        return [pricer.price(kernel) for kernel in kernels(model)]
    except UnknownShape as error:
        raise UserError(
            f"the size of {str(error)!r} is open; export the model with a fixed input size"
        ) from error


def _shapes(model: ModelProto) -> dict[str, list[int | None]]:
    """Shapes by name, those that inference does not find in PrototypeAttention included."""
    shapes = known_shapes(model)
    for node in model.graph.node:
        if node.op_type == OP_TYPE:
            shapes.update(dict.fromkeys(node.output, shapes[node.input[0]]))
    return shapes


def milliseconds(costs: Sequence[LayerCost]) -> float:
    """One image, or batch of the file's size, from the first kernel to the last."""
    return sum(cost.microseconds for cost in costs) / 1000


@dataclass(frozen=True)
class _Pricer:
    device: Device
    types: Mapping[str, int]
    shapes: Mapping[str, Sequence[int | None]]

    def price(self, kernel: Kernel) -> LayerCost:
        anchor, format = kernel.anchor, self._format(kernel)
        flops, compute = self._compute(anchor, format)
        moved = sum(map(self._bytes, kernel.reads | kernel.writes))
        memory = self.device.memory_us(moved)
        launch = self.device.launch_us + (self.device.fill_us if flops else 0)
        parts = {"compute": compute, "memory": memory, "launch": launch}
        return LayerCost(
            name=anchor.name or anchor.output[0],
            op=anchor.op_type,
            format=format,
            flops=flops,
            bytes=moved,
            microseconds=max(compute, memory) + launch,
            bound=max(parts, key=parts.__getitem__),
            outputs=tuple(node.output[0] for node in kernel.nodes),
        )

    def _compute(self, node: NodeProto, format: str) -> tuple[int, float]:
        """Operations and microseconds of a product; of others neither is counted.

        A builder takes the fastest of what it has: a convolution of few channels, or of groups of
        few, is done on the ordinary cores, which gives INT8 little or nothing over FP16.
        """
        if node.op_type not in COUNTERS:
            return 0, 0.0
        flops = COUNTERS[node.op_type](node, Sizes(self.shapes))
        if format == "fp32" or node.op_type in _PLUGINS:
            return flops, self.device.arithmetic_us(flops, "fp32")
        inner, outer = self._channels(node)
        tensor = flops * _padding(inner, _ALIGNMENT[format]) * _padding(outer, _ALIGNMENT[format])
        ordinary = flops * _padding(inner, _VECTOR[format]) / _VECTOR[format]
        return flops, min(
            self.device.arithmetic_us(tensor, format), self.device.arithmetic_us(ordinary, "fp32")
        )

    def _channels(self, node: NodeProto) -> tuple[int, int]:
        """Those a convolution sums over and those it makes, per group; K and N of a product."""
        sizes = Sizes(self.shapes)
        if node.op_type in ("Conv", "ConvTranspose"):
            first, second = sizes(node.input[1])[:2]
            first //= attribute(node, "group", 1)
            return (second, first) if node.op_type == "Conv" else (first, second)
        if node.op_type in ("MatMul", "Gemm"):
            transposed = node.op_type == "Gemm" and attribute(node, "transA", 0)
            shared = sizes.either((node.input[0], 0 if transposed else -1))
            return shared, sizes.either((node.output[0], -1))
        return 0, 0  # Einsum and PrototypeAttention, whose channels are many

    def _bytes(self, access: Access) -> int:
        if access.tensor not in self.shapes:  # a constant that inference does not see through
            return 0
        size = math.prod(Sizes(self.shapes)(access.tensor))
        if access.int8:
            return size
        return size * helper.tensor_dtype_to_np_dtype(self.types[access.tensor]).itemsize

    def _format(self, kernel: Kernel) -> str:
        anchor = kernel.anchor
        if kernel.int8 or anchor.op_type in ("QuantizeLinear", "DequantizeLinear"):
            return "int8"
        nodes = [anchor] if kernel.kind == "product" else kernel.nodes
        made = {self.types[name] for node in nodes for name in node.output if name}
        read = {self.types[access.tensor] for access in kernel.reads if not access.int8}
        for types in (made, read):
            for type, format in _FLOATS.items():
                if type in types:
                    return format
        return "int8" if any(access.int8 for access in kernel.reads) else "fp32"


def _padding(size: int, multiple: int) -> float:
    """How many times as much there is to compute with a size padded to a multiple."""
    return math.ceil(size / multiple) * multiple / size if size else 1.0


def table(costs: Sequence[LayerCost]) -> str:
    """The total, the share of each format, and the most expensive kernels."""
    total = milliseconds(costs)
    lines = [f"{total:.2f} ms in {len(costs)} kernels"]
    for format in FORMATS:
        part = milliseconds([cost for cost in costs if cost.format == format])
        lines.append(f"  {format.upper()} {part:.2f} ms, {part / total:.0%}")
    for cost in sorted(costs, key=lambda cost: -cost.microseconds)[:_SHOWN]:
        lines.append(
            f"{cost.microseconds:8.1f} µs  {cost.format}  {cost.bound:7}  {cost.op}  {cost.name}"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """The command line; see the top of this file."""
    parser = Parser(
        prog="calibration.roofline", description="Estimate the latency of a model on a GPU."
    )
    parser.add_argument("model", type=Path, metavar="MODEL.onnx", help="in FP32, FP16 or INT8")
    parser.add_argument(
        "--device", default=DEFAULT_DEVICE, help=f"{', '.join(DEVICES)} (default %(default)s)"
    )
    args = parser.parse_args(argv)
    device, file = find_device(args.device), ModelFile.read(args.model)
    print(f"estimated, not measured: {device.name}, figures of {device.source}")
    print(table(estimate(file.proto, device)))


if __name__ == "__main__":
    run(main)
