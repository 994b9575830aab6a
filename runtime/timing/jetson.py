"""Clocks, power and temperature of a Jetson's GPU, which has no NVML, from the system's files.

Where they stand: jetson_stats (https://github.com/rbonghi/jetson_stats), jtop/core.
"""

from __future__ import annotations

from pathlib import Path

from runtime.results.machine import system_text
from runtime.timing.gpu_state import GpuState, NotAvailable

ROOT = Path("/sys")
GPU_NAMES = ("gv11b", "gp10b", "ga10b", "gb10b", "gpu")  # of_node/name of its clock
POWER_RAILS = ("VDD_IN", "POM_5V_IN", "VIN_SYS_5V0")  # the whole board
GPU_RAILS = ("VDD_GPU_SOC", "VDD_GPU", "VDD_SYS_GPU", "VDD_CPU_GPU_CV")


class Jetson:
    """The GPU of the board; also a context manager, as `Nvml`."""

    def __init__(self, root: Path = ROOT) -> None:
        """Raises NotAvailable where this is no Jetson; `root` is where /sys is mounted."""
        clocks = [
            folder
            for folder in sorted((root / "class/devfreq").glob("*"))
            if system_text(folder / "device/of_node/name") in GPU_NAMES
        ]
        if not clocks:
            raise NotAvailable("neither NVML nor the clock of a Jetson's GPU is there")
        self._clock = clocks[0]
        zones = (root / "class/thermal").glob("thermal_zone*")
        self._zones = [zone for zone in zones if "gpu" in system_text(zone / "type").lower()]
        monitors = (root / "bus/i2c/devices").glob("*/hwmon/hwmon*/in*_label")
        self._rails = {system_text(label): label for label in monitors}

    def __enter__(self) -> Jetson:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def state(self) -> GpuState:
        """What it does at this moment; the power is that of the board where that is told."""
        hertz = _number(self._clock / "cur_freq")
        degrees = [value for zone in self._zones if (value := _number(zone / "temp"))]
        return GpuState(
            graphics_mhz=None if hertz is None else hertz / 1e6,
            memory_mhz=None,
            power_w=self._watts(),
            temperature_c=max(degrees) / 1000 if degrees else None,
            throttled=(),
        )

    def limits(self) -> dict[str, float | None]:
        """The highest clock in MHz; the power that the board is held to is not told."""
        hertz = _number(self._clock / "max_freq")
        return {"graphics_mhz": None if hertz is None else hertz / 1e6, "power_w": None}

    def _watts(self) -> float | None:
        label = next((self._rails[n] for n in POWER_RAILS + GPU_RAILS if n in self._rails), None)
        if label is None:
            return None
        number = label.name.removeprefix("in").removesuffix("_label")
        volts = _number(label.with_name(f"in{number}_input"))  # in mV and mA
        amperes = _number(label.with_name(f"curr{number}_input"))
        return None if volts is None or amperes is None else volts * amperes / 1e6


def _number(path: Path) -> float | None:
    try:
        return float(system_text(path))
    except ValueError:
        return None
