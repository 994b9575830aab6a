"""What OpenVINO made of a network, and what each layer of it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import openvino

from runtime.backends.base import LayerInfo, LayerTimes, by_layer

_NO_LAYERS = ("Const", "Input", "Output")


def layer_times(request: openvino.InferRequest, batch: Mapping[str, Any], runs: int) -> LayerTimes:
    """Run the batch so often, on a network that was compiled with PERF_COUNT.

    Constants and the like, which no run spends a microsecond on, are left out.
    """
    taken = []
    for _ in range(runs):
        request.infer(batch)
        taken.append(
            [
                (info.node_name, info.real_time.total_seconds() * 1000)
                for info in request.profiling_info
            ]
        )
    times = by_layer(taken)
    return LayerTimes(runs, [(name, ms) for name, ms in times.layers if any(ms)])


def layer_info(network: openvino.CompiledModel) -> LayerInfo:
    """The layers of a compiled network, inputs and outputs apart."""
    layers, bindings, lines = [], [], []
    for op in network.get_runtime_model().get_ordered_ops():
        facts = {
            key: value if isinstance(value, str) else value.astype(str)
            for key, value in op.get_rt_info().items()
        }
        kind = facts.get("layerType", op.get_type_name())
        name = op.get_friendly_name()
        if kind in _NO_LAYERS:
            if kind != "Const":
                bindings.append(name)
            continue
        sources = [port.get_source_output() for port in op.inputs()]
        layer = {
            "Name": name,
            "LayerType": kind,
            "Inputs": [_tensor(source) for source in sources],
            "Outputs": [_tensor(port) for port in op.outputs()],
            "TacticName": facts.get("primitiveType", ""),
            "Metadata": facts.get("originalLayersNames", ""),
        }
        layers.append(layer)
        ports = ", ".join(f"{t['Datatype']} {t['Dimensions']}" for t in layer["Outputs"])
        lines.append(f"{name} ({kind}, {layer['TacticName']}) -> {ports}")
    return LayerInfo(lines, layers, bindings)


def _tensor(port: Any) -> dict[str, Any]:
    shape = port.get_partial_shape()
    sizes = [size.get_length() if size.is_static else -1 for size in shape]
    return {
        "Name": port.get_node().get_friendly_name(),
        "Dimensions": sizes,
        "Datatype": port.get_element_type().get_type_name(),
    }
