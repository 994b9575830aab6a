"""Timings in the words and under the JSON keys of NVIDIA's trtexec, which scripts already read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runtime.measure import Timing


def summary(timing: Timing, percentiles: Sequence[float]) -> str:
    """The timing in the words of trtexec, as far as they mean something on a CPU."""
    latencies = timing.latencies
    parts = [
        f"min = {latencies[0]:g} ms",
        f"max = {latencies[-1]:g} ms",
        f"mean = {latencies.mean():g} ms",
        f"median = {timing.median:g} ms",
        *(f"percentile({p:g}%) = {timing.percentile(p):g} ms" for p in percentiles),
    ]
    wall = timing.wall_ms / 1000
    return "\n".join(
        [
            f"Warmup completed {timing.warmup_queries} queries over {timing.warmup_ms:g} ms",
            f"Timing trace has {len(timing.queries)} queries over {wall:g} s",
            "",
            "=== Performance summary ===",
            f"Throughput: {timing.throughput:g} qps",
            f"Latency: {', '.join(parts)}",
            f"Total Host Walltime: {wall:g} s",
        ]
    )


def trace(timings: Mapping[str, Timing]) -> list[dict[str, float | str]]:
    """Every query under trtexec's keys, and its format. Nothing is copied to or from a device."""
    return [
        {
            "format": name,
            "startEnqMs": start,
            "endEnqMs": end,
            "startH2dMs": start,
            "endH2dMs": start,
            "startComputeMs": start,
            "endComputeMs": end,
            "startD2hMs": end,
            "endD2hMs": end,
            "h2dMs": 0.0,
            "computeMs": end - start,
            "d2hMs": 0.0,
            "latencyMs": end - start,
        }
        for name, timing in timings.items()
        for start, end in timing.queries
    ]
