"""Build a model for a T4 with TensorRT-RTX, in a process of its own: it may end where it fails.

    python build_on_rtx.py MODEL.onnx [--plugin] [--profile NAME=MIN:OPT:MAX ...]

A shape is written 1x100x256. Prints as JSON: the layers of the network by type, the reasons where
nothing was parsed or built, the plan's size, and the layers of the engine where it can be read.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter

import tensorrt_rtx as trt

import plugins


class Log(trt.ILogger):
    def __init__(self):
        trt.ILogger.__init__(self)
        self.errors, self.layers = [], []

    def log(self, severity, message):
        if severity <= trt.ILogger.Severity.ERROR:
            self.errors.append(message)
        self.layers += [line for line in message.splitlines() if line.startswith("Name: ")]


def add_profile(builder, config, entries):
    profile = builder.create_optimization_profile()
    for entry in entries:
        name, shapes = entry.split("=")
        bounds = [tuple(map(int, shape.split("x"))) for shape in shapes.split(":")]
        profile.set_shape(name, *bounds)
    config.add_optimization_profile(profile)


def build(arguments, log):
    if arguments.plugin:
        plugins.load(trt.get_plugin_registry())
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(arguments.model):
        reasons = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        return {"network": {}, "errors": [*reasons, *log.errors]}
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM75, 0)
    if arguments.profile:
        add_profile(builder, config, arguments.profile)
    plan = bytes(builder.build_serialized_network(network, config) or b"")
    return {
        "network": Counter(layer.type.name for layer in layers),
        "outputs": [
            [tuple(tensor.shape), tensor.dtype.name]
            for tensor in map(network.get_output, range(network.num_outputs))
        ],
        "bytes": len(plan),
        "kept": b"num_heads" in plan,
        "engine": log.layers,
        "errors": log.errors,
    }


parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--plugin", action="store_true")
parser.add_argument("--profile", nargs="*")
log = Log()
print(json.dumps(build(parser.parse_args(), log)))
