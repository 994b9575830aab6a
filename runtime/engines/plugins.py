"""Which operators of a file become plugins, and whether they did."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import plugins
from emca.errors import UserError
from plugins import DEFORMABLE_ATTENTION, OP_TYPE
from runtime.backends.base import ModelFile
from runtime.backends.trt.module import RTX
from runtime.engines.graph import Plugin, custom_operators
from runtime.engines.options import BuildOptions


def choose_plugins(
    trt: ModuleType, log: Any, registry: Any, model: ModelFile, options: BuildOptions
) -> tuple[dict[str, Plugin], list[str]]:
    """The newest plugin of each operator that shall be one, and notes on the choice.

    By default PrototypeAttention is a plugin, and so is multi-scale deformable attention where
    TensorRT brings its own: as standard operators some versions compute it wrongly without a
    word (NVIDIA/TensorRT#4813). TensorRT-RTX, which brings none, takes the standard operators
    also for PrototypeAttention where there is no library, and the notes say so.

    Raises:
        UserError: a plugin that was asked for is not there.
    """
    there = custom_operators(model.proto)
    wanted = options.plugins
    notes = []
    if wanted is None:
        own = [OP_TYPE] if OP_TYPE in there else []
        there_is_one = plugins.find() is not None or _registered(registry, OP_TYPE)
        if own and options.backend == RTX and not there_is_one:
            notes.append(f"{OP_TYPE} runs as standard operators: make plugin has not been run.")
            own = []
        wanted = tuple(own)
        # Its library is none of those that version-compatible engines can name.
        if DEFORMABLE_ATTENTION in there and not options.version_compatible:
            trt.init_libnvinfer_plugins(log, "")
            if _registered(registry, DEFORMABLE_ATTENTION):
                wanted += (DEFORMABLE_ATTENTION,)
    found = {}
    for operator in wanted:
        if operator not in there:
            raise UserError(
                f"--plugins={operator}: {model.path} has no such operator; leave it out"
            )
        if operator == OP_TYPE:
            _load(registry)
        else:
            trt.init_libnvinfer_plugins(log, "")
        registered = _registered(registry, operator)
        if not registered:
            raise UserError(
                f"--plugins={operator}: {options.backend} {trt.__version__} has no plugin of this "
                "name; leave it out"
            )
        found[operator] = max(registered, key=lambda plugin: int(plugin.version))
    return found, notes


def plugin_counts(
    trt: ModuleType, network: Any, model: ModelFile, chosen: dict[str, Plugin]
) -> dict[str, int]:
    """How many layers of each operator are plugins; UserError unless all of its nodes are."""
    nodes = {operator: custom_operators(model.proto)[operator] for operator in chosen}
    kinds = (trt.LayerType.PLUGIN_V2, trt.LayerType.PLUGIN_V3)
    layers = sum(layer.type in kinds for layer in map(network.get_layer, range(network.num_layers)))
    if layers != sum(nodes.values()):
        wanted = ", ".join(f"{name} {chosen[name].version}" for name in nodes) or "no plugin"
        raise UserError(
            f"{model.path}: the parser made {layers} plugin layers of {sum(nodes.values())} nodes "
            f"({wanted}); add --no-plugin, and report this with the versions in use"
        )
    return nodes


def _load(registry: Any) -> None:
    try:
        plugins.load(registry)
    except UserError as error:
        raise UserError(f"{error}; --no-plugin builds without") from error


def _registered(registry: Any, operator: str) -> list[Plugin]:
    return [
        Plugin(creator.plugin_version, creator.plugin_namespace)
        for creator in registry.all_creators
        if creator.name == operator
    ]
