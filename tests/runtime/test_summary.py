import re

from runtime.measure import Timing
from runtime.summary import summary, trace

TIMING = Timing(
    warmup_queries=4,
    warmup_ms=201.5,
    queries=[(10.0 * n, 10.0 * n + 2 + n / 10) for n in range(10)],
    wall_ms=100,
)


def test_summary_speaks_as_trtexec():
    text = summary(TIMING, [50, 99.5])
    assert text.splitlines() == [
        "Warmup completed 4 queries over 201.5 ms",
        "Timing trace has 10 queries over 0.1 s",
        "",
        "=== Performance summary ===",
        "Throughput: 100 qps",
        "Latency: min = 2 ms, max = 2.9 ms, mean = 2.45 ms, median = 2.45 ms, "
        "percentile(50%) = 2.4 ms, percentile(99.5%) = 2.9 ms",
        "Total Host Walltime: 0.1 s",
    ]
    # the expression by which scripts read trtexec's output
    assert re.search(r"Throughput: ([\d.]+) qps", text)[1] == "100"


def test_trace_has_the_keys_of_trtexec():
    entries = trace({"FP32": TIMING, "INT8": Timing(queries=[(1.0, 1.5)], wall_ms=1)})
    assert [entry["format"] for entry in entries] == ["FP32"] * 10 + ["INT8"]
    last = entries[-1]
    assert last["latencyMs"] == last["computeMs"] == 0.5
    assert (last["startComputeMs"], last["endComputeMs"]) == (1.0, 1.5)
    keys = {f"{edge}{part}Ms" for edge in ("start", "end") for part in ("Enq", "H2d", "D2h")}
    assert keys <= last.keys()
    assert last["h2dMs"] == last["d2hMs"] == 0
