"""What a builder made of a file: the layers of the engine, and whether they are what was asked."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emca.errors import UserError
from runtime.backends.engine_file import Layer
from runtime.backends.trt.module import RTX
from runtime.comparison.rows import aligned
from runtime.engines.graph import Product

# The builders' words: "Half" in Myelin's layers, "Row major linear FP16 format" in others.
_TYPES = {
    "half": "fp16",
    "float16": "fp16",
    "float": "fp32",
    "float32": "fp32",
    "bfloat16": "bf16",
}
_TYPE = re.compile(
    r"\b(half|float16|fp16|float32|float|fp32|bfloat16|bf16|uint8|int8|int32|int64|int4|bool|fp8)\b",
    re.IGNORECASE,
)
# Control characters part the entries in TensorRT; a name may be followed by " | " and a property.
_NODE = re.compile(r"\[ONNX Layer: (.*?)(?: \| .*?)?\](?=\[|[\x1e\x1f]|\s*$)")
_LOGGED = re.compile(
    r"Name: (?P<name>.*?), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*?)\], "
    r"(?:Constants: \[(?P<constants>.*?)\], )?Outputs: \[(?P<outputs>.*?)\], TacticName: .*?"
    r"(?:Metadata: (?P<nodes>.*))?$"
)
_PRODUCT = re.compile(r"conv|correlation|gemm|matmul|matrix|mha", re.IGNORECASE)
_PLUGIN = re.compile(r"plugin|custom_layer", re.IGNORECASE)

COLUMNS = ("int8", "fp16", "fp32")
OTHER = "other"
_WIDTH = {"int8": 8, "fp16": 16, "bf16": 16, "fp32": 32}

# What a builder cannot do for a target, and what it does instead.
LIMITS = {(RTX, "7.5", "convolution", "int8"): "fp16"}


@dataclass(frozen=True)
class Outcome:
    """What became of a product of the file; `ran` is empty where no layer names it."""

    product: Product
    ran: str


def layers_of_inspector(text: str) -> list[Layer]:
    """The layers that the engine inspector lists as JSON, in the form of TensorRT 10 or 11.

    Raises:
        UserError: there is no layer with types in it.
    """
    try:
        listed = json.loads(text, strict=False)["Layers"]  # control characters part the metadata
        layers = [
            Layer(
                entry["Name"],
                entry["LayerType"],
                tuple(_type(tensor) for tensor in entry.get("Inputs", ())),
                tuple(_type(tensor) for tensor in entry.get("Outputs", ())),
                tuple(_NODE.findall(entry.get("Metadata", ""))),
            )
            for entry in listed
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"the engine inspector's list cannot be read ({error!r})") from error
    return _computing(layers, "the engine inspector")


def layers_of_log(lines: Iterable[str]) -> list[Layer]:
    """The layers in the verbose log of TensorRT-RTX, which lists them without a device.

    Raises:
        UserError: there is none.
    """
    matches = [match for line in lines if (match := _LOGGED.match(line))]
    layers = [
        Layer(
            match["name"],
            match["kind"],
            _logged_types(match["inputs"]) or _logged_types(match["constants"] or ""),
            _logged_types(match["outputs"]),
            tuple(_NODE.findall(match["nodes"] or "")),
        )
        for match in matches
    ]
    return _computing(layers, "the builder's log")


def outcomes(products: Sequence[Product], layers: Sequence[Layer]) -> list[Outcome]:
    """For each product of the file the widest type in which a layer for products computes it.

    Where no such layer names it, as in a compiled subgraph, the borders of those that do tell
    what it may be computed in, but not what it is not.
    """
    by_node: dict[str, list[Layer]] = {}
    for layer in layers:
        # Where a layer carries no metadata its name is made of those of its nodes.
        for node in layer.nodes or re.split(r" \+ |\+", layer.name):
            by_node.setdefault(node, []).append(layer)
    found = []
    for product in products:
        tied = by_node.get(product.name, [])
        own = [layer for layer in tied if _PRODUCT.search(layer.kind)]
        ran = [_computed_in(layer, product) for layer in own or tied]
        known = [type for type in ran if type in _WIDTH]
        found.append(Outcome(product, max(known, key=_WIDTH.__getitem__, default="")))
    return found


def check(found: Sequence[Outcome], precision: str, *, backend: str, target: str) -> list[str]:
    """What a reader of the table has to know about it.

    Strong typing leaves a builder little choice, but some: it may compute a quantised product in
    FP16 where that is faster, or hide products in a subgraph that does not tell. So single ones
    are notes, and an engine that ignores what was asked is one in which most products are wider.

    Args:
        precision: "fp32", "fp16" or "int8", as the card of the file says.
        target: compute capability, such as "7.5".

    Raises:
        UserError: nothing in the file has that precision, or most of what has, as far as the
            layers tell, runs in a wider type, other than by a known limit.
    """
    asked = [outcome for outcome in found if outcome.product.precision == precision]
    if not asked:
        has = ", ".join(sorted({outcome.product.precision for outcome in found})) or "none"
        raise UserError(
            f"the file calls itself {precision} but its convolutions and matrix products are "
            f"{has}; make it again with python -m calibration.{precision}"
        )
    notes, missed = [], 0
    for (kind, wanted, ran), count in Counter(_wider(found)).items():
        limited = LIMITS.get((backend, target, kind, wanted)) == ran
        why = f"{backend} has no {wanted.upper()} {kind} for compute capability {target}"
        reason = f"; {why}." if limited else "."
        notes.append(f"{wanted.upper()} {kind}s that run in {ran.upper()}: {count}{reason}")
        missed += count if wanted == precision and not limited else 0
    unknown = sum(not outcome.ran for outcome in asked)
    if missed > (len(asked) - unknown) / 2:
        raise UserError(_complaint([outcome for outcome in asked if _is_wider(outcome)]))
    if unknown:
        notes.append(
            f"{precision.upper()} products whose layers do not tell their type: {unknown} of "
            f"{len(asked)}."
        )
    return notes


def check_plugins(layers: Sequence[Layer], counts: Mapping[str, int]) -> None:
    """UserError unless the layers of the network that are plugins are there in the engine too."""
    there = sum(bool(_PLUGIN.search(layer.kind)) for layer in layers)
    if there < sum(counts.values()):
        raise UserError(
            f"{there} of {sum(counts.values())} plugin layers are left in the engine; --no-plugin "
            "builds without"
        )


def layer_table(layers: Sequence[Layer]) -> str:
    """How many layers of each kind read which type, most frequent kinds first."""
    counts: dict[str, Counter[str]] = {}
    for layer in layers:
        first = layer.inputs[0] if layer.inputs else OTHER
        column = first if first in COLUMNS else OTHER
        counts.setdefault(layer.kind, Counter())[column] += 1
    kinds = sorted(counts, key=lambda kind: -counts[kind].total())
    lines = [
        (kind, str(counts[kind].total()), *(str(counts[kind][c]) for c in (*COLUMNS, OTHER)))
        for kind in kinds
    ]
    total = sum(counts.values(), Counter[str]())
    lines.append(("all", str(total.total()), *(str(total[c]) for c in (*COLUMNS, OTHER))))
    return aligned(("kind of layer", "layers", "INT8", "FP16", "FP32", OTHER), lines)


def product_table(found: Sequence[Outcome]) -> str:
    """What the file asks for and what the engine computes, by kind and type.

    Of those in the last column no layer bears the name; they are part of a fusion.
    """
    rows: dict[tuple[str, str], Counter[str]] = {}
    for outcome in found:
        ran = outcome.ran if outcome.ran in COLUMNS or not outcome.ran else OTHER
        key = outcome.product.kind, outcome.product.precision
        rows.setdefault(key, Counter())[ran] += 1
    lines = [
        (kind, wanted.upper(), *(str(rows[kind, wanted][c]) for c in (*COLUMNS, OTHER, "")))
        for kind, wanted in sorted(rows)
    ]
    return aligned(("in the file", "as", "INT8", "FP16", "FP32", OTHER, "unnamed"), lines, left=2)


def _computing(layers: list[Layer], source: str) -> list[Layer]:
    """The layers that touch data; others wait for one another."""
    found = [layer for layer in layers if layer.inputs or layer.outputs]
    if not found:
        raise UserError(f"{source} lists no layer with types; this version cannot be read back")
    return found


def _is_wider(outcome: Outcome) -> bool:
    wanted = outcome.product.precision
    return wanted in _WIDTH and _WIDTH.get(outcome.ran, 0) > _WIDTH[wanted]


def _wider(found: Sequence[Outcome]) -> Iterator[tuple[str, str, str]]:
    """Kind, type asked for and type of each product that runs in a wider one."""
    for outcome in filter(_is_wider, found):
        yield outcome.product.kind, outcome.product.precision, outcome.ran


def _complaint(wrong: Sequence[Outcome]) -> str:
    first = ", ".join(f"{o.product.name} ({o.ran.upper()})" for o in wrong[:3])
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    wanted = "/".join(sorted({o.product.precision.upper() for o in wrong}))
    return f"{len(wrong)} layers do not run in {wanted} as the file asks: {first}{more}"


def _computed_in(layer: Layer, product: Product) -> str:
    """The type in which this layer computes a product, which is one that it reads, if it tells."""
    if product.precision in layer.inputs:
        return product.precision
    if not _PRODUCT.search(layer.kind):
        return ""
    return next((type for type in layer.inputs if type in _WIDTH), "")


def _type(tensor: dict[str, Any]) -> str:
    """`Datatype` stands apart since TensorRT 11 and within `Format/Datatype` before."""
    return _type_in(str(tensor.get("Datatype") or tensor.get("Format/Datatype", "")))


def _type_in(text: str) -> str:
    match = _TYPE.search(text)
    word = match[1].lower() if match else OTHER
    return _TYPES.get(word, word)


def _logged_types(text: str) -> tuple[str, ...]:
    return tuple(_type_in(word) for word in re.findall(r"Datatype: ([^,}]*)", text))
