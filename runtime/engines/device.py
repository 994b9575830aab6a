"""The GPU that an engine is built for."""

from __future__ import annotations

from emca.errors import UserError
from runtime.backends.cuda.memory import open_cuda
from runtime.engines.options import CPU_ONLY_TARGET, BuildOptions


def target_device(options: BuildOptions) -> tuple[str, str]:
    """Name and compute capability of the GPU to build for.

    TensorRT builds for the one at hand alone. TensorRT-RTX builds for the one it is told, else
    for the one at hand, else for a T4; the name is empty where that GPU is not at hand.

    Raises:
        UserError: TensorRT, and no GPU that can be used.
    """
    try:
        cuda = open_cuda()
    except UserError:
        if options.backend == "tensorrt":
            raise
        return "", options.compute_capability or CPU_ONLY_TARGET
    if options.compute_capability in ("", cuda.compute_capability):
        return cuda.device, cuda.compute_capability
    return "", options.compute_capability
