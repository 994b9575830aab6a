import numpy as np
import pytest

from calibration.ranges.histogram import BINS, Histogram, entropy_range, mse_range, percentile_range


def histogram(*batches):
    result = Histogram()
    for batch in batches:
        values = np.abs(np.asarray(batch, np.float32))
        result.add(values, float(values.max()))
    return result


def normal(count=200_000, scale=1.0, seed=0):
    return scale * np.random.default_rng(seed).standard_normal(count)


def test_growing_keeps_every_value():
    small, large = normal(1000), normal(1000, 50)
    grown = histogram(np.zeros(10), small, large)
    assert grown.counts.sum() == 2010
    assert grown.largest == pytest.approx(np.abs(large).max())
    assert grown.limit >= grown.largest
    assert grown.counts.shape == (BINS,)
    edge = grown.edge(100)
    expected = sum((np.abs(part) < edge).sum() for part in (np.zeros(10), small, large))
    assert grown.counts[:100].sum() == pytest.approx(expected, abs=5)


def test_percentile_is_that_of_the_values():
    values = normal()
    expected = np.percentile(np.abs(values), 99.9)
    assert percentile_range(histogram(values), 99.9) == pytest.approx(expected, rel=0.01)
    assert percentile_range(histogram(values), 100) == pytest.approx(np.abs(values).max())


def test_entropy_cuts_off_outliers_and_keeps_a_full_range():
    outliers = np.concatenate([normal(), [60.0, -80.0]])
    assert 3 < entropy_range(histogram(outliers)) < 15
    uniform = np.random.default_rng(0).uniform(-5, 5, 200_000)
    assert entropy_range(histogram(uniform)) > 4.8


def test_entropy_passes_over_the_zeros_of_a_relu():
    values = np.maximum(normal(), 0)
    mixed = np.concatenate([values, np.zeros(10_000_000)])
    assert entropy_range(histogram(mixed)) == pytest.approx(entropy_range(histogram(values)))


def squared_error(values, limit):
    step = limit / 127
    return np.mean((values - np.clip(np.round(values / step), -127, 127) * step) ** 2)


@pytest.mark.parametrize(
    "values",
    [
        normal(),
        np.concatenate([normal(), [60.0, -80.0]]),
        np.random.default_rng(0).laplace(size=200_000),
        np.random.default_rng(0).uniform(-5, 5, 200_000),
        np.maximum(normal(), 0),
    ],
    ids=["normal", "outliers", "laplace", "uniform", "relu"],
)
def test_mse_is_near_the_best_of_all_ranges(values):
    found = mse_range(histogram(values))
    best = min(squared_error(values, limit) for limit in np.linspace(0.2, 81, 800))
    assert squared_error(values, found) <= 1.03 * best


@pytest.mark.parametrize("choose", [entropy_range, mse_range, lambda h: percentile_range(h, 99.99)])
def test_constant_tensors(choose):
    assert choose(histogram(np.zeros(100))) == 0.0
    assert choose(histogram(np.full(100, 2.5))) == 2.5
