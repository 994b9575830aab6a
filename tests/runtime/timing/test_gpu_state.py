import time

import pytest

from runtime.timing.gpu_state import GpuState, NotAvailable, Watch, watching


class Gpu:
    """Tells states in a circle."""

    def __init__(self, *states):
        self.states, self.told, self.closed = states, 0, False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True

    def state(self):
        self.told += 1
        return self.states[(self.told - 1) % len(self.states)]

    def limits(self):
        return {"graphics_mhz": 1590.0, "power_w": 70.0}


def state(mhz=1500.0, watts=60.0, degrees=50.0, *throttled):
    return GpuState(mhz, None, watts, degrees, throttled)


def missing():
    raise NotAvailable("no such library")


def test_states_are_read_while_the_block_runs():
    gpu = Gpu(state(1000.0), state(1500.0, 70.0), state(1400.0))
    with watching([missing, lambda: gpu], period_s=0.002) as watch:
        time.sleep(0.1)
    assert gpu.closed
    seen = len(watch.states)
    assert 3 <= seen <= 60
    time.sleep(0.01)
    assert len(watch.states) == seen  # the thread has ended
    found = watch.to_dict()
    assert found["available"] is True
    assert found["graphics_mhz"] == [1000, 1400, 1500]
    assert found["memory_mhz"] is None
    assert (found["power_w"][0], found["power_w"][-1]) == (60, 70)
    assert found["limits"] == {"graphics_mhz": 1590.0, "power_w": 70.0}
    assert (found["samples"], found["throttled"]) == (seen, {})
    assert watch.text() == (
        "GPU while measuring: clock 1400 MHz (1000 to 1500), power 60 W (60 to 70), "
        "temperature 50 °C (50 to 50)."
    )


def test_what_holds_the_clocks_down_is_a_warning():
    watch = Watch([state(), state(900.0, 70.0, 80.0, "power cap"), state(), state()])
    assert watch.throttles == {"power cap": 0.25}
    assert "* The GPU was held down by power cap (25 % of the time)" in watch.text()


def test_no_way_to_the_gpu_is_said_with_its_reasons():
    with watching([missing, missing]) as watch:
        pass
    assert watch.text() == (
        "Clocks, power, temperature: not available (no such library; no such library)."
    )
    assert watch.to_dict() == {"available": False, "reason": "no such library; no such library"}


def test_an_error_in_the_block_ends_the_thread():
    gpu = Gpu(state())
    with pytest.raises(ZeroDivisionError), watching([lambda: gpu], period_s=0.001):
        raise ZeroDivisionError
    assert gpu.closed
    told = gpu.told
    time.sleep(0.01)
    assert gpu.told == told
