import numpy as np
import pytest

from runtime.backends.base import LayerInfo, LayerTimes
from runtime.timing.layer_profile import (
    info_document,
    info_text,
    output_entries,
    profile_entries,
    profile_text,
    profiled,
)

TIMES = LayerTimes(2, [("conv", [1.0, 2.0]), ("none", [0.0, 0.0]), ("argmax", [0.5, 0.5])])


def test_table_is_that_of_trtexec():
    assert profile_text(TIMES).splitlines() == [
        "=== Profile (2 iterations ) ===",
        "   Time(ms)     Avg.(ms)   Median(ms)   Time(%)   Layer",
        "       3.00       1.5000       1.5000      75.0   conv",
        "       1.00       0.5000       0.5000      25.0   argmax",
        "       4.00       2.0000       2.0000     100.0   Total",
    ]


def test_entries_have_the_keys_of_trtexec():
    count, conv, none, argmax = profile_entries({"FP16": TIMES})
    assert count == {"format": "FP16", "count": 2}
    assert conv == {
        **{"format": "FP16", "name": "conv", "timeMs": 3.0, "averageMs": 1.5, "medianMs": 1.5},
        "percentage": 75.0,
    }
    assert none["percentage"] == 0
    assert argmax["percentage"] == 25


def test_layers_of_several_formats_say_whose_they_are():
    one = LayerInfo(["conv (Conv)"], [{"Name": "conv"}], ["image"])
    names = LayerInfo(["conv"], ["conv"], ["image", {"Name": "labels"}])
    assert info_document({"FP16": names}) == {
        "Layers": ["conv"],
        "Bindings": ["image", {"Name": "labels"}],
    }
    assert info_document({"FP32": one, "FP16": names}) == {
        "Layers": [{"Name": "conv", "format": "FP32"}, {"Name": "conv", "format": "FP16"}],
        "Bindings": ["image", {"Name": "labels"}],
    }
    assert info_text(names) == "Layer Information:\nconv\nBindings: image, labels"


def test_outputs_are_flat_under_their_dimensions():
    labels = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    scores = np.array([1.5, np.inf, -np.inf, np.nan], np.float16)
    (entry,) = output_entries({"FP16": {"scores": scores}})
    assert entry["values"] == [1.5, None, None, None]
    assert output_entries({"INT8": {"labels": labels}}) == [
        {"format": "INT8", "name": "labels", "dimensions": "1x2x3", "values": [0, 1, 2, 3, 4, 5]}
    ]


@pytest.mark.parametrize(("ms", "runs"), [(10.0, 50), (100.0, 7), (0.0, 500_000)])
def test_the_run_lasts_about_as_long_as_the_measurement(ms, runs):
    class Backend:
        def layer_times(self, images, runs):
            return runs

    assert profiled(Backend(), None, duration_s=0.5, iterations=7, ms=ms) == runs
