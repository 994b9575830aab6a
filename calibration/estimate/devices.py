"""GPUs whose speed can be estimated, with the peaks that NVIDIA states for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from emca.errors import UserError, nearest

DEFAULT_DEVICE = "t4"

# Fitted to what others measured on a T4 with TensorRT: ResNet-50, ResNeXt-50, FCN, PSPNet and
# DeepLabV3 (mmdeploy, docs/en/03-benchmark/benchmark.md), ResNet-50 and MobileNetV1 in batches of
# 1, 2 and 4 (Paddle Inference 2.3, GPU benchmark). The estimates of those are off by a fifth
# on average, by two fifths at most. Taken for the other devices too, for want of figures.
_EFFICIENCY = {"int8": 0.40, "fp16": 0.55, "fp32": 0.60, "memory": 0.70}
_FILL_US = 8.0
# What trtexec lists for a small reformat (NVIDIA/TensorRT#1862).
_LAUNCH_US = 5.0


@dataclass(frozen=True)
class Device:
    """What one GPU can do at most, without sparsity, and how much of it a network gets.

    Attributes:
        fp32_tflops: of the ordinary cores, in 10^12 operations a second, 2 per
            multiply-accumulate as everywhere here.
        fp16_tflops: of the tensor cores.
        int8_tops: of the tensor cores.
        bandwidth_gbs: of the memory, in 10^9 bytes a second.
        source: where these figures stand.
        efficiency: share that kernels reach of the peak of "int8", "fp16", "fp32" and "memory".
        launch_us: what any kernel costs besides, in microseconds.
        fill_us: what a convolution or product costs on top of that, batches of one being too
            small to fill the device from start to end.
    """

    name: str
    fp32_tflops: float
    fp16_tflops: float
    int8_tops: float
    bandwidth_gbs: float
    source: str
    efficiency: Mapping[str, float] = field(default_factory=lambda: dict(_EFFICIENCY))
    launch_us: float = _LAUNCH_US
    fill_us: float = _FILL_US

    def arithmetic_us(self, operations: float, format: str) -> float:
        """Microseconds of so many operations in "int8", "fp16" or "fp32"."""
        peaks = {"int8": self.int8_tops, "fp16": self.fp16_tflops, "fp32": self.fp32_tflops}
        return operations / (1e6 * peaks[format] * self.efficiency[format])

    def memory_us(self, size: int) -> float:
        """Microseconds to read or write so many bytes."""
        return size / (1e3 * self.bandwidth_gbs * self.efficiency["memory"])


# Data sheets of Orin state INT8 with sparsity; without it is half, and FP16 half of that.
_ALL = (
    Device("t4", 8.1, 65, 130, 320, "NVIDIA T4 data sheet"),
    Device("orin-nano", 1.28, 10, 20, 68, "Jetson Orin Nano series data sheet, 8 GB, 15 W"),
    Device("orin-nx", 1.88, 15, 30, 102.4, "Jetson Orin NX series data sheet, 16 GB, 25 W"),
    Device("agx-orin", 5.3, 42.5, 85, 204.8, "Jetson AGX Orin series data sheet, 64 GB, 60 W"),
    Device(
        "rtx-3070", 20.3, 40.6, 162.6, 448, "NVIDIA Ampere GA102 white paper, appendix A; FP32 sums"
    ),
)
DEVICES = {device.name: device for device in _ALL}


def find_device(name: str) -> Device:
    """The device of this name.

    Raises:
        UserError: there is none.
    """
    if name not in DEVICES:
        raise UserError(
            f"no figures for device {name!r}{nearest(name, DEVICES)}; there are "
            f"{', '.join(DEVICES)}"
        )
    return DEVICES[name]
