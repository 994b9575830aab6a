"""Against a library with NVML's C interface, made here: there is no GPU to ask."""

import shutil
import subprocess

import pytest

from runtime.timing.gpu_state import NotAvailable
from runtime.timing.nvml import Nvml

SOURCE = r"""
#include <string.h>
typedef struct device { int clock, memory; } device;
static device one = {1350, 5001};
static int opened;

int nvmlInit_v2(void) { if (NO_DRIVER) return 9; ++opened; return 0; }
int nvmlShutdown(void) { --opened; return 0; }
int emca_opened(void) { return opened; }
const char *nvmlErrorString(int status) { return status == 9 ? "Driver Not Loaded" : "Not Found"; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, device **found) {
    if (strcmp(bus, "0000:3b:00.0")) return 6;
    *found = &one;
    return 0;
}
int nvmlDeviceGetClockInfo(device *d, unsigned kind, unsigned *mhz) {
    if (d != &one || (kind != 0 && kind != 2)) return 2;
    *mhz = kind ? d->memory : d->clock;
    return 0;
}
int nvmlDeviceGetMaxClockInfo(device *d, unsigned kind, unsigned *mhz) {
    *mhz = 1590;
    return d != &one || kind;
}
int nvmlDeviceGetPowerUsage(device *d, unsigned *mw) { *mw = 69500; return d != &one; }
int nvmlDeviceGetTemperature(device *d, unsigned sensor, unsigned *degrees) {
    *degrees = 71;
    return d != &one || sensor;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(device *d, unsigned long long *reasons) {
    *reasons = 0x100000000ULL | 0x25;  /* above 32 bits, idle, power cap, thermal */
    return d != &one;
}
#if WITH_LIMIT
int nvmlDeviceGetEnforcedPowerLimit(device *d, unsigned *mw) { *mw = 70000; return d != &one; }
#endif
"""
BUS = "0000:3b:00.0"


@pytest.fixture
def library(tmp_path):
    """Compiles a library; keywords are its macros."""
    compiler = shutil.which("gcc")
    if not compiler:
        pytest.skip("no gcc")

    def make(**macros):
        values = {"NO_DRIVER": 0, "WITH_LIMIT": 1, **macros}
        path = tmp_path / f"libfake{'-'.join(map(str, values.values()))}.so"
        defines = [f"-D{name}={value}" for name, value in values.items()]
        subprocess.run(
            [compiler, "-shared", "-fPIC", *defines, "-x", "c", "-", "-o", path],
            input=SOURCE.encode(),
            check=True,
        )
        return str(path)

    return make


def test_a_gpu_tells_its_state(library):
    with Nvml(BUS, library()) as gpu:
        state = gpu.state()
        assert (state.graphics_mhz, state.memory_mhz) == (1350, 5001)
        assert (state.power_w, state.temperature_c) == (69.5, 71)
        assert state.throttled == ("power cap", "thermal slowdown by the driver")
        assert gpu.limits() == {"graphics_mhz": 1590, "power_w": 70}
        assert gpu._library.emca_opened() == 1
    assert gpu._library.emca_opened() == 0


def test_what_an_older_driver_lacks_is_none(library):
    with Nvml(BUS, library(WITH_LIMIT=0)) as gpu:
        assert gpu.limits() == {"graphics_mhz": 1590, "power_w": None}


def test_reasons_why_there_is_none(library, tmp_path):
    with pytest.raises(NotAvailable, match=r"libnone\.so cannot be loaded"):
        Nvml(BUS, str(tmp_path / "libnone.so"))
    with pytest.raises(NotAvailable, match="nvmlInit_v2: Driver Not Loaded"):
        Nvml(BUS, library(NO_DRIVER=1))
    with pytest.raises(NotAvailable, match="nvmlDeviceGetHandleByPciBusId_v2: Not Found"):
        Nvml("0000:00:00.0", library())
    with Nvml(BUS, library()) as gpu:  # the failure before it left nothing open
        assert gpu._library.emca_opened() == 1
