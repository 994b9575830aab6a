"""Queries of an engine, each stage timed by marks in the GPU's streams, as trtexec measures."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from runtime.backends.base import GpuTrace
from runtime.backends.trt.run import Loaded, Run, capture, give_back

IN_FLIGHT = 2  # queries of a lane, so that the copies of one can run beside the layers of another


class TimedEngine:
    """Queries of one batch on as many lanes as were asked for, all driven by the calling thread."""

    def __init__(
        self,
        loaded: Loaded,
        images: NDArray[np.uint8],
        profile: int,
        *,
        streams: int,
        transfers: bool,
    ) -> None:
        """Set up contexts, buffers and graphs; the batch is on the GPU afterwards.

        Args:
            images: contiguous, of a shape of the profile.
            streams: lanes, each with a context and buffers of its own.
            transfers: whether each query copies its input to and its outputs from the GPU.
        """
        self._cuda = loaded.cuda
        with ExitStack() as stack:
            self._begin = self._cuda.create_event()
            stack.callback(give_back, self._cuda.destroy_event, self._begin)
            self._lanes = [_Lane(loaded, images, profile, transfers, stack) for _ in range(streams)]
            self._cleanup = stack.pop_all()

    def turn(self, least_ms: float, least_queries: int, origin: float) -> list[GpuTrace]:
        """At least so many queries over at least that time, in the order in which they began.

        Args:
            origin: when the clock of the traces began, of time.perf_counter().
        """
        first = self._lanes[0]
        self._cuda.record(self._begin, first.stream)
        self._cuda.wait(self._begin)
        began = 1000 * (time.perf_counter() - origin)
        traces: list[GpuTrace] = []
        for lane in self._lanes:
            lane.start(origin, began, self._begin)
        while len(traces) < least_queries or traces[-1].end_download < began + least_ms:
            for lane in self._lanes:
                lane.query()
            for lane in self._lanes:
                traces += lane.finished()
        for lane in self._lanes:
            traces += lane.finished(everything=True)
        return sorted(traces, key=lambda trace: trace.start_upload)

    def close(self) -> None:
        """Give everything back."""
        self._cleanup.close()


@dataclass(frozen=True)
class _Marks:
    """Of one query in flight."""

    start_upload: int
    end_upload: int
    start_compute: int
    end_compute: int
    start_download: int
    end_download: int


class _Lane:
    """A context with streams for its layers and for the copies in both directions."""

    def __init__(
        self,
        loaded: Loaded,
        images: NDArray[np.uint8],
        profile: int,
        transfers: bool,
        stack: ExitStack,
    ) -> None:
        self._cuda = cuda = loaded.cuda
        self._transfers = transfers
        streams = []
        for _ in range(3):
            streams.append(cuda.create_stream())
            stack.callback(give_back, cuda.destroy_stream, streams[-1])
        self.stream, self._up, self._down = streams
        own = replace(loaded, stream=self.stream)
        self._run = Run(own, images.shape, profile)
        stack.callback(self._run.close)
        self._free: deque[_Marks] = deque()
        self._flying: deque[tuple[_Marks, float, float]] = deque()
        for _ in range(IN_FLIGHT):
            marks = [cuda.create_event() for _ in range(6)]
            for mark in marks:
                stack.callback(give_back, cuda.destroy_event, mark)
            self._free.append(_Marks(*marks))
        self._run.fill(images)
        self._run.upload(self.stream)
        self._run.execute(self.stream)
        cuda.synchronize(self.stream)
        # What TensorRT does once per shape is done by now and does not get into the graph.
        self._graph = (
            capture(own, lambda: self._run.execute(self.stream), stack) if loaded.graphs else None
        )

    def start(self, origin: float, began: float, begin: int) -> None:
        """Tell what times count from: `begin` is a mark that was passed at `began` ms."""
        self._origin, self._began, self._begin = origin, began, begin

    def query(self) -> None:
        """Queue a query; there must be room for one."""
        cuda, marks = self._cuda, self._free.popleft()
        if self._transfers:
            cuda.record(marks.start_upload, self._up)
            self._run.upload(self._up)
            cuda.record(marks.end_upload, self._up)
            cuda.hold(self.stream, marks.end_upload)
        cuda.record(marks.start_compute, self.stream)
        start = 1000 * (time.perf_counter() - self._origin)
        if self._graph is None:
            self._run.execute(self.stream)
        else:
            cuda.launch(self._graph, self.stream)
        end = 1000 * (time.perf_counter() - self._origin)
        cuda.record(marks.end_compute, self.stream)
        if self._transfers:
            cuda.hold(self._down, marks.end_compute)
            cuda.record(marks.start_download, self._down)
            self._run.download(self._down)
            cuda.record(marks.end_download, self._down)
        self._flying.append((marks, start, end))

    def finished(self, everything: bool = False) -> Iterator[GpuTrace]:
        """Wait until there is room for a query, or until none is left."""
        while self._flying and (everything or not self._free):
            marks, start, end = self._flying.popleft()
            self._cuda.wait(marks.end_download if self._transfers else marks.end_compute)
            yield self._trace(marks, start, end)
            self._free.append(marks)

    def _trace(self, marks: _Marks, start: float, end: float) -> GpuTrace:
        compute = self._span(marks.start_compute, marks.end_compute)
        upload, download = (compute[0], compute[0]), (compute[1], compute[1])
        if self._transfers:
            upload = self._span(marks.start_upload, marks.end_upload)
            download = self._span(marks.start_download, marks.end_download)
        return GpuTrace(*(start, end), *upload, *compute, *download)

    def _span(self, start: int, end: int) -> tuple[float, float]:
        """Both marks in ms; their distance is not a difference of large numbers."""
        first = self._began + self._cuda.elapsed_ms(self._begin, start)
        return first, first + self._cuda.elapsed_ms(start, end)
