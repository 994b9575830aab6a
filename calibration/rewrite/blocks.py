"""The parts of a network that are kept in one number format: stages, levels, decoder layers."""

from __future__ import annotations

import re

from onnx import ModelProto, NodeProto

from calibration.rewrite.edit import Links
from calibration.rewrite.placement import layers

HEADS = "heads"

# Modules that hold the network alone.
_SHELLS = ("model", "encoder", "transformer", "swin")
# One step before the numbered parts of a decoder, numbered by level itself.
_WHOLE = ("input_proj",)


def blocks(model: ModelProto) -> dict[str, tuple[str, ...]]:
    """The layers that INT8 can run, by the block that they belong to.

    Args:
        model: folded (`calibration.rewrite.fold`).

    Returns:
        Block -> outputs of its layers, in the order of the graph. A block is an entry of a list of
        modules, whatever the list is called: `backbone.0` (a stage), `pixel_decoder.3` (a level),
        `decoder.5` (a layer), or a module: `backbone.embedder`, `pixel_decoder.mask_features`. A
        layer without a module in its name is a block of its own. The last one is `HEADS`: what
        `calibration.rewrite.placement` leaves in floating point unless told otherwise.
    """
    links, found = Links(model.graph), layers(model)
    by_name: dict[str, list[str]] = {}
    for output, layer in found.items():
        name = HEADS if layer.is_head else _block(links.producer[output])
        by_name.setdefault(name, []).append(output)
    if HEADS in by_name:
        by_name[HEADS] = by_name.pop(HEADS)
    return {name: tuple(outputs) for name, outputs in by_name.items()}


def _block(node: NodeProto) -> str:
    module, slash, _ = node.name.rpartition("/")
    if not slash or not module:
        return node.name or node.output[0]
    component, *path = module.split(".")
    path = [part for part in path if part not in _SHELLS]
    if not path:
        return component
    is_list = len(path) > 1 and path[1].isdecimal() and not re.search(r"\d", path[0])
    return f"{component}.{path[1] if is_list and path[0] not in _WHOLE else path[0]}"
