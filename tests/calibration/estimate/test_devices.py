import pytest

from calibration.estimate.devices import DEVICES, find_device
from emca.errors import UserError


def test_t4_has_the_peaks_of_its_data_sheet():
    t4 = find_device("t4")
    assert (t4.fp32_tflops, t4.fp16_tflops, t4.int8_tops, t4.bandwidth_gbs) == (8.1, 65, 130, 320)


@pytest.mark.parametrize("device", DEVICES.values(), ids=list(DEVICES))
def test_formats_are_in_order_and_figures_have_a_source(device):
    assert device.fp32_tflops < device.fp16_tflops < device.int8_tops
    assert device.source
    times = [device.arithmetic_us(1e9, format) for format in ("int8", "fp16", "fp32")]
    assert times == sorted(times)


def test_unknown_device_names_the_nearest():
    with pytest.raises(UserError, match=r"no figures for device 'orin-nana' \(did you mean \"orin"):
        find_device("orin-nana")
