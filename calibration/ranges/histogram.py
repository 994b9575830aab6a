"""Histograms of absolute values that grow with the data, and ranges chosen from them.

onnxruntime's collectors are not used: their entropy search has a single candidate at its default
128 bins and runs in Python loops at more, and it treats the two signs apart.
"""

from __future__ import annotations

import numpy as np

from calibration.rewrite.edit import Array

BINS = 2048
_LEVELS = 128  # magnitudes of signed INT8
_FLOOR = 1e-9
_STRIDE = 8  # bins between the ranges that the entropy search tries


class Histogram:
    """Counts of absolute values in BINS equal bins over 0..limit; the limit doubles as needed."""

    def __init__(self) -> None:
        self.counts: Array = np.zeros(BINS, np.int64)
        self.limit = 0.0
        self.largest = 0.0

    def add(self, values: Array | None, largest: float) -> None:
        """Count `values` >= 0, the largest of which is given; None: note the largest alone."""
        self.largest = max(self.largest, largest)
        if values is None:
            return
        if self.limit == 0.0:  # nothing but zeros so far, and those are in bin 0 for any limit
            self.limit = largest
        while self.limit < largest:
            self.counts[: BINS // 2] = self.counts.reshape(-1, 2).sum(1)
            self.counts[BINS // 2 :] = 0
            self.limit *= 2
        bins = values.ravel() * np.float32(BINS / self.limit if self.limit else 0)
        indices = np.minimum(bins.astype(np.int32), BINS - 1)
        self.counts += np.bincount(indices, minlength=BINS)

    def edge(self, count: int) -> float:
        """Upper end of the first `count` bins, but no more than the largest value seen."""
        return min(self.limit * count / BINS, self.largest)


def percentile_range(histogram: Histogram, percentile: float) -> float:
    """The range that holds `percentile` % of the values."""
    below = np.cumsum(histogram.counts)
    return histogram.edge(int(np.searchsorted(below, below[-1] * percentile / 100)) + 1)


def entropy_range(histogram: Histogram) -> float:
    """The range whose INT8 version loses the least information (Migacz, GTC 2017).

    For each candidate, values beyond it are clipped into its last bin; the Kullback-Leibler
    divergence from that distribution to its 128-level version decides. Zeros, which are exact in
    any version and many after a ReLU, are counted like their neighbours.
    """
    counts = histogram.counts.astype(np.float64)
    counts[0] = counts[1]
    used = np.flatnonzero(counts)
    if not used.size:
        return histogram.largest
    stops = range(_LEVELS, BINS + 1, _STRIDE)
    return histogram.edge(min(stops, key=lambda stop: _divergence(counts, stop)))


def mse_range(histogram: Histogram) -> float:
    """The range whose INT8 version has the smallest mean squared error over all values.

    A narrower range rounds less and clips more. Zeros, which every version keeps, do not count.
    """
    centres = (np.arange(BINS) + 0.5) * histogram.limit / BINS
    stops = range(_LEVELS, BINS + 1, _STRIDE)
    ranges = [histogram.edge(stop) for stop in stops]
    if not histogram.limit:
        return histogram.largest
    return min(ranges, key=lambda limit: _squared_error(histogram.counts, centres, limit))


def _squared_error(counts: Array, centres: Array, limit: float) -> float:
    step = limit / (_LEVELS - 1)
    restored = np.minimum(np.round(centres / step), _LEVELS - 1) * step
    return float(np.sum(counts * (centres - restored) ** 2))


def _divergence(counts: Array, stop: int) -> float:
    inside = counts[:stop]
    clipped = inside.copy()
    clipped[-1] += counts[stop:].sum()
    level = np.arange(stop) * _LEVELS // stop
    mass = np.bincount(level, inside)
    occupied = np.bincount(level, inside > 0)
    coarse = np.where(inside > 0, (mass / np.maximum(occupied, 1))[level], 0)
    if not coarse.any():
        return float("inf")
    p, q = clipped / clipped.sum(), coarse / coarse.sum()
    seen = p > 0
    # The last bin may hold clipped values only; the floor keeps the price of those finite.
    return float(np.sum(p[seen] * np.log(p[seen] / np.maximum(q[seen], _FLOOR))))
