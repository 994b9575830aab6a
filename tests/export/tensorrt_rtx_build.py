"""Build a file with TensorRT-RTX, in a process of its own: it may end the process where it fails.

    python tensorrt_rtx_build.py MODEL.onnx SM75

Needs no GPU. Prints, as JSON, the size of the plan and how many convolutions and matrix products
of the engine read INT8; exits with 1 and the reasons where the file cannot be parsed or built.
"""

import json
import re
import sys

import tensorrt_rtx as trt


class Log(trt.ILogger):
    """Keeps what the builder says; at the verbose level it lists the layers of the engine."""

    def __init__(self):
        trt.ILogger.__init__(self)
        self.errors, self.layers = [], []

    def log(self, severity, message):
        if severity <= trt.ILogger.Severity.ERROR:
            self.errors.append(message)
        self.layers += [line for line in message.splitlines() if line.startswith("Name: ")]


def main(path, capability):
    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(path):
        sys.exit("; ".join(str(parser.get_error(i)) for i in range(parser.num_errors)))
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, capability), 0)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        sys.exit("; ".join(log.errors))
    int8 = {"correlation": 0, "gemm": 0}
    for layer in log.layers:
        kind = re.search(r"LayerType: (\w+)", layer)
        inputs = layer.partition("Inputs:")[2].partition("Outputs:")[0]
        if kind and kind[1] in int8 and re.findall(r"Datatype: (\w+)", inputs)[:2] == ["Int8"] * 2:
            int8[kind[1]] += 1
    print(json.dumps({"bytes": len(memoryview(plan)), "layers": network.num_layers, **int8}))


main(*sys.argv[1:])
