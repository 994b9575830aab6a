"""Timings in the words and under the JSON keys of NVIDIA's trtexec, which scripts already read.

Its words are those of trtexec 11.1 (samples/common/sampleReporting.cpp of NVIDIA/TensorRT).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from runtime.backends.base import GpuTrace
from runtime.timing.latency import Timing, percentile

# From these on trtexec warns.
ENQUEUE_BOUND = 0.8  # of the median of GPU Compute Time
UNSTABLE_PERCENT = 2.5
# Processors share their cores with everything else: less than this is no sign of anything.
CPU_UNSTABLE_PERCENT = 10.0
MOST_LINES = 200  # of the averages, at both ends

WALLTIME = (
    "Total Host Walltime: the host walltime from when the first query (after warmups) is enqueued "
    "to when the last query is completed."
)
GPU_EXPLANATIONS = (
    WALLTIME,
    "GPU Compute Time: the GPU latency to execute the kernels for a query.",
    "Total GPU Compute Time: the summation of the GPU Compute Time of all the queries. If this is "
    "significantly shorter than Total Host Walltime, the GPU may be under-utilized because of "
    "host-side overheads or data transfers.",
    "Throughput: the observed throughput computed by dividing the number of queries by the Total "
    "Host Walltime. If this is significantly lower than the reciprocal of GPU Compute Time, the "
    "GPU may be under-utilized because of host-side overheads or data transfers.",
    "Enqueue Time: the host latency to enqueue a query. If this is longer than GPU Compute Time, "
    "the GPU may be under-utilized.",
    "H2D Latency: the latency for host-to-device data transfers for input tensors of a single "
    "query.",
    "D2H Latency: the latency for device-to-host data transfers for output tensors of a single "
    "query.",
    "Latency: the summation of H2D Latency, GPU Compute Time, and D2H Latency. This is the latency "
    "to infer a single query.",
)
CPU_EXPLANATIONS = (
    WALLTIME,
    "Throughput: the observed throughput computed by dividing the number of queries by the Total "
    "Host Walltime.",
    "Latency: the latency to infer a single query.",
)
BOUND = "* Throughput may be bound by {} rather than GPU Compute and the GPU may be under-utilized."
WITHOUT_TRANSFERS = (
    "  Consider removing --includeDataTransfers to disable data transfers and potentially "
    "increase throughput."
)


def summary(timing: Timing, percentiles: Sequence[float], averaged: int = 0) -> str:
    """The timing in the words of trtexec; on a CPU, those of them that mean something.

    Args:
        percentiles: of the queries, 0..100.
        averaged: queries in each line of the trace's details; 0: no details.
    """
    wall = timing.wall_ms / 1000
    lines = [
        f"Warmup completed {timing.warmup_queries} queries over {timing.warmup_ms:g} ms",
        f"Timing trace has {len(timing.queries)} queries over {wall:g} s",
        *(_details(timing, averaged) if averaged else ()),
        "",
        "=== Performance summary ===",
        f"Throughput: {timing.throughput:g} qps",
        f"Latency: {_spread(timing.latencies, percentiles)}",
    ]
    if timing.traces:
        stages = {
            "Enqueue Time": [trace.enqueue for trace in timing.traces],
            "H2D Latency": [trace.upload for trace in timing.traces],
            "GPU Compute Time": [trace.compute for trace in timing.traces],
            "D2H Latency": [trace.download for trace in timing.traces],
        }
        lines += [f"{name}: {_spread(np.sort(ms), percentiles)}" for name, ms in stages.items()]
    lines.append(f"Total Host Walltime: {wall:g} s")
    if timing.traces:
        total = sum(trace.compute for trace in timing.traces) / 1000
        lines.append(f"Total GPU Compute Time: {total:g} s")
    lines += _warnings(timing)
    lines.append("Explanations of the performance metrics are printed in the verbose logs.")
    return "\n".join(lines)


def explanations(timing: Timing) -> str:
    """What the lines of the summary mean, in the words of trtexec."""
    lines = GPU_EXPLANATIONS if timing.traces else CPU_EXPLANATIONS
    return "\n".join(["=== Explanations of the performance metrics ===", *lines])


def trace(timings: Mapping[str, Timing]) -> list[dict[str, float | str]]:
    """Every query under trtexec's keys, and its format. On a CPU all of it is compute time."""
    return [
        {
            "format": name,
            "startEnqMs": one.start_enqueue,
            "endEnqMs": one.end_enqueue,
            "startH2dMs": one.start_upload,
            "endH2dMs": one.end_upload,
            "startComputeMs": one.start_compute,
            "endComputeMs": one.end_compute,
            "startD2hMs": one.start_download,
            "endD2hMs": one.end_download,
            "h2dMs": one.upload,
            "computeMs": one.compute,
            "d2hMs": one.download,
            "latencyMs": one.latency,
        }
        for name, timing in timings.items()
        for one in (timing.traces or [_on_host(*query) for query in timing.queries])
    ]


def _on_host(start: float, end: float) -> GpuTrace:
    return GpuTrace(start, end, start, start, start, end, end, end)


def _spread(ascending: NDArray[np.float64], percentiles: Sequence[float]) -> str:
    return ", ".join(
        [
            f"min = {ascending[0]:g} ms",
            f"max = {ascending[-1]:g} ms",
            f"mean = {ascending.mean():g} ms",
            f"median = {np.median(ascending):g} ms",
            *(f"percentile({p:g}%) = {percentile(ascending, p):g} ms" for p in percentiles),
        ]
    )


def _details(timing: Timing, averaged: int) -> list[str]:
    """Averages over so many queries each; those in the middle of very many are left out."""
    lines = []
    for first in range(0, len(timing.queries) - averaged + 1, averaged):
        group = slice(first, first + averaged)
        if not timing.traces:
            mean = sum(end - start for start, end in timing.queries[group]) / averaged
            lines.append(f"Average on {averaged} runs - Host latency: {mean:g} ms")
            continue
        compute, latency, enqueue = (
            sum(getattr(one, stage) for one in timing.traces[group]) / averaged
            for stage in ("compute", "latency", "enqueue")
        )
        lines.append(
            f"Average on {averaged} runs - GPU latency: {compute:g} ms - Host latency: "
            f"{latency:g} ms (enqueue {enqueue:g} ms)"
        )
    if (omitted := len(lines) - 2 * MOST_LINES) > 0:
        lines[MOST_LINES:-MOST_LINES] = [f"... Omitting {omitted} lines"]
    return ["", "=== Trace details ===", f"Trace averages of {averaged} runs:", *lines]


def _warnings(timing: Timing) -> list[str]:
    lines = _gpu_warnings(timing.traces) if timing.traces else _cpu_warnings(timing)
    if timing.streams > 1:
        lines.append(
            "* Multiple inference streams are used. Latencies may not be accurate since inferences "
            'may run in   parallel. Please use "Throughput" as the performance metric instead.'
        )
    return lines


def _gpu_warnings(traces: Sequence[GpuTrace]) -> list[str]:
    compute = [one.compute for one in traces]
    median = float(np.median(compute))
    lines = []
    if np.median([one.enqueue for one in traces]) > ENQUEUE_BOUND * median:
        bound = BOUND.format("Enqueue Time")
        lines += [bound, "  If you are using --noCudaGraph, removing it may increase throughput."]
    if np.median([one.upload for one in traces]) >= median:
        bound = BOUND.format("host-to-device transfers for the inputs")
        lines += [bound, WITHOUT_TRANSFERS]
    if np.median([one.download for one in traces]) >= median:
        bound = BOUND.format("device-to-host transfers for the outputs")
        lines += [bound, WITHOUT_TRANSFERS]
    if (variation := _variation(compute)) > UNSTABLE_PERCENT:
        lines += [
            f"* GPU compute time is unstable, with coefficient of variance = {variation:g}%.",
            "  If not already in use, locking GPU clock frequency may improve the stability.",
        ]
    return lines


def _cpu_warnings(timing: Timing) -> list[str]:
    if (variation := _variation(timing.latencies)) <= CPU_UNSTABLE_PERCENT:
        return []
    return [
        f"* Latency is unstable, with coefficient of variance = {variation:g}%.",
        "  Ending other programs or fixing the clocks of the processor may improve the stability.",
    ]


def _variation(values: Sequence[float] | NDArray[np.float64]) -> float:
    """The standard deviation in percent of the mean."""
    mean = float(np.mean(values))
    return 100 * float(np.std(values)) / mean if mean else 0.0
