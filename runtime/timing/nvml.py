"""Clocks, power and temperature of an NVIDIA GPU, from the driver's own library.

NVIDIA Management Library: https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_char_p, c_uint, c_ulonglong, c_void_p
from typing import Any

from runtime.timing.gpu_state import GpuState, NotAvailable

LIBRARY = "libnvidia-ml.so.1"
_SUCCESS = 0
_GRAPHICS, _MEMORY = 0, 2  # nvmlClockType_t
_CORE_SENSOR = 0  # NVML_TEMPERATURE_GPU
# nvmlClocksThrottleReasons that cost speed; idling and what the user set are none.
THROTTLES = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "thermal slowdown by the driver",
    0x40: "thermal slowdown by the hardware",
    0x80: "power brake",
}


class Nvml:
    """One GPU as the driver sees it; also a context manager."""

    def __init__(self, bus_id: str, library: str = LIBRARY) -> None:
        """Open the GPU that is plugged in at `bus_id`.

        Raises:
            NotAvailable: there is no such library, no driver, or no such GPU.
        """
        try:
            self._library = ctypes.CDLL(library)
        except OSError as error:
            raise NotAvailable(f"{library} cannot be loaded") from error
        self._call("nvmlInit_v2")
        self._device = c_void_p()
        try:
            found = byref(self._device)
            self._call("nvmlDeviceGetHandleByPciBusId_v2", c_char_p(bus_id.encode()), found)
        except NotAvailable:
            self.close()
            raise

    def __enter__(self) -> Nvml:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def state(self) -> GpuState:
        """What it does at this moment; what this GPU cannot tell is None."""
        reasons = self._value("nvmlDeviceGetCurrentClocksThrottleReasons", kind=c_ulonglong) or 0
        watts = self._value("nvmlDeviceGetPowerUsage")
        return GpuState(
            graphics_mhz=self._value("nvmlDeviceGetClockInfo", c_uint(_GRAPHICS)),
            memory_mhz=self._value("nvmlDeviceGetClockInfo", c_uint(_MEMORY)),
            power_w=None if watts is None else watts / 1000,
            temperature_c=self._value("nvmlDeviceGetTemperature", c_uint(_CORE_SENSOR)),
            throttled=tuple(name for bit, name in THROTTLES.items() if int(reasons) & bit),
        )

    def limits(self) -> dict[str, float | None]:
        """The highest clock in MHz and the power in W that the GPU is held to."""
        watts = self._value("nvmlDeviceGetEnforcedPowerLimit")
        return {
            "graphics_mhz": self._value("nvmlDeviceGetMaxClockInfo", c_uint(_GRAPHICS)),
            "power_w": None if watts is None else watts / 1000,
        }

    def close(self) -> None:
        """Give the library back; nothing can be read afterwards."""
        self._library.nvmlShutdown()

    def _value(self, function: str, *arguments: Any, kind: Any = c_uint) -> float | None:
        """What a function of the device tells, or None where this GPU or driver does not."""
        value = kind()
        try:
            self._call(function, self._device, *arguments, byref(value))
        except NotAvailable:
            return None
        return float(value.value)

    def _call(self, function: str, *arguments: Any) -> None:
        try:
            status = getattr(self._library, function)(*arguments)
        except AttributeError as error:  # a driver older than the function
            raise NotAvailable(f"the driver has no {function}") from error
        if status != _SUCCESS:
            raise NotAvailable(f"{function}: {self._reason(status)}")

    def _reason(self, status: int) -> str:
        try:
            self._library.nvmlErrorString.restype = c_char_p
            text: bytes = self._library.nvmlErrorString(status) or b""
        except AttributeError:
            text = b""
        return text.decode(errors="replace") or f"error {status}"
