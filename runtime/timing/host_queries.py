"""Queries of a backend, timed from outside, one after the other or several at once."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from runtime.backends import Backend


class HostQueries:
    """Runs one batch again and again, on as many threads as there are streams."""

    def __init__(self, backend: Backend, images: NDArray[np.uint8], streams: int = 1) -> None:
        """Args:
        images: a batch that the backend takes.
        streams: threads, each with one of `Backend.another`; 1 is the calling thread.
        """
        self._backends = [backend, *(backend.another() for _ in range(streams - 1))]
        self._images = images
        self._is_over = False
        self._pool = ThreadPoolExecutor(streams) if streams > 1 else None

    def turn(self, least_ms: float, least_queries: int, origin: float) -> list[tuple[float, float]]:
        """When queries began and ended, in ms since `origin`, in the order in which they began.

        Each stream makes at least its share of them and goes on for at least that time.
        """
        until = ms_since(origin) + least_ms
        least = math.ceil(least_queries / len(self._backends))
        if self._pool is None:
            return self._loop(self._backends[0], until, least, origin)
        loops = [
            self._pool.submit(self._loop, backend, until, least, origin)
            for backend in self._backends
        ]
        try:
            return sorted(query for loop in loops for query in loop.result())
        except BaseException:  # Ctrl-C reaches the calling thread alone
            self._is_over = True
            raise

    def close(self) -> None:
        """End the threads; the backend itself stays."""
        if self._pool:
            self._pool.shutdown()

    def _loop(
        self, backend: Backend, until: float, least: int, origin: float
    ) -> list[tuple[float, float]]:
        queries: list[tuple[float, float]] = []
        now = ms_since(origin)
        while not self._is_over and (now < until or len(queries) < least):
            backend.infer(self._images)
            finished = ms_since(origin)
            queries.append((now, finished))
            now = finished
        return queries


def ms_since(origin: float) -> float:
    """Milliseconds since this moment of time.perf_counter()."""
    return 1000 * (time.perf_counter() - origin)
