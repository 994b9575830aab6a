import pytest

from runtime.timing.gpu_state import NotAvailable
from runtime.timing.jetson import Jetson


@pytest.fixture
def board(tmp_path):
    """Part of /sys of an Orin: content by path."""

    def make(**changes):
        clock, monitor = "class/devfreq/17000000.gpu", "bus/i2c/devices/1-0040/hwmon/hwmon3"
        files = {
            "class/devfreq/2c60000.emc/device/of_node/name": "emc\0",
            "class/devfreq/2c60000.emc/cur_freq": "204000000",
            f"{clock}/device/of_node/name": "gpu\0",
            f"{clock}/cur_freq": "918000000\n",
            f"{clock}/max_freq": "1020000000\n",
            "class/thermal/thermal_zone0/type": "cpu-thermal",
            "class/thermal/thermal_zone0/temp": "99000",
            "class/thermal/thermal_zone1/type": "gpu-thermal",
            "class/thermal/thermal_zone1/temp": "51250",
            f"{monitor}/in1_label": "VDD_IN",
            f"{monitor}/in1_input": "5000",
            f"{monitor}/curr1_input": "1500",
            f"{monitor}/in2_label": "VDD_CPU_GPU_CV",
            f"{monitor}/in2_input": "5000",
            f"{monitor}/curr2_input": "600",
        }
        for name, text in {**files, **changes}.items():
            if text is not None:
                path = tmp_path / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        return tmp_path

    return make


def test_a_board_tells_its_state(board):
    with Jetson(board()) as gpu:
        state = gpu.state()
        assert (state.graphics_mhz, state.memory_mhz) == (918, None)
        assert (state.temperature_c, state.power_w) == (51.25, 7.5)
        assert gpu.limits() == {"graphics_mhz": 1020, "power_w": None}


def test_what_cannot_be_read_is_none(board):
    names = ("class/devfreq/17000000.gpu/cur_freq", "class/thermal/thermal_zone1/type")
    labels = ("in1_label", "in2_label")
    monitor = "bus/i2c/devices/1-0040/hwmon/hwmon3"
    gone = dict.fromkeys([*names, *(f"{monitor}/{label}" for label in labels)])
    state = Jetson(board(**gone)).state()
    assert state.graphics_mhz is state.temperature_c is state.power_w is None


def test_another_machine_is_none(tmp_path):
    with pytest.raises(NotAvailable, match="neither NVML nor the clock of a Jetson"):
        Jetson(tmp_path)
