import re

import pytest

from runtime.backends.base import GpuTrace
from runtime.timing.latency import Timing
from runtime.timing.summary import explanations, summary, trace

TIMING = Timing(
    warmup_queries=4,
    warmup_ms=201.5,
    queries=[(10.0 * n, 10.0 * n + 2 + n / 10) for n in range(10)],
    wall_ms=100,
)
STEADY = Timing(queries=[(2.0 * n, 2.0 * n + 2) for n in range(6)], wall_ms=12)


def gpu(count=4, *, enqueue=0.1, upload=0.5, compute=2.0, download=0.25, vary=0.0, streams=1):
    """Queries every 10 ms whose stages take so long; `vary` is added to every second one."""
    traces = []
    for n in range(count):
        ms = compute + vary * (n % 2)
        start = 10.0 * n
        traces.append(
            GpuTrace(
                *(start, start + enqueue, start, start + upload),
                *(start + 1, start + 1 + ms, start + 5, start + 5 + download),
            )
        )
    queries = [(one.start_upload, one.end_download) for one in traces]
    return Timing(queries=queries, traces=traces, wall_ms=10.0 * count, streams=streams)


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
        "* Latency is unstable, with coefficient of variance = 11.7236%.",
        "  Ending other programs or fixing the clocks of the processor may improve the stability.",
        "Explanations of the performance metrics are printed in the verbose logs.",
    ]
    # the expression by which scripts read trtexec's output
    assert re.search(r"Throughput: ([\d.]+) qps", text)[1] == "100"
    assert "unstable" not in summary(STEADY, [50])


def test_the_stages_of_a_gpu_have_lines_of_their_own():
    lines = summary(gpu(), [90]).splitlines()
    first = lines.index("=== Performance summary ===")

    def line(name, ms):
        return (
            f"{name}: min = {ms} ms, max = {ms} ms, mean = {ms} ms, median = {ms} ms, "
            f"percentile(90%) = {ms} ms"
        )

    assert lines[first + 1 :] == [
        "Throughput: 100 qps",
        line("Latency", "2.75"),  # the waiting between the stages is not in it
        line("Enqueue Time", "0.1"),
        line("H2D Latency", "0.5"),
        line("GPU Compute Time", "2"),
        line("D2H Latency", "0.25"),
        "Total Host Walltime: 0.04 s",
        "Total GPU Compute Time: 0.008 s",
        "Explanations of the performance metrics are printed in the verbose logs.",
    ]


WARNINGS = {
    "Enqueue Time": {"enqueue": 1.7},
    "host-to-device transfers for the inputs": {"upload": 2.0},
    "device-to-host transfers for the outputs": {"download": 2.0},
    "GPU compute time is unstable": {"vary": 0.2},
    "Multiple inference streams are used": {"streams": 2},
}


@pytest.mark.parametrize("words", WARNINGS)
def test_each_warning_has_its_reason(words):
    text = summary(gpu(**WARNINGS[words]), [])
    warnings = [line for line in text.splitlines() if line.startswith("* ")]
    assert len(warnings) == 1
    assert words in warnings[0]


def test_warnings_are_worded_as_trtexec_words_them():
    text = summary(gpu(enqueue=1.8, upload=2.2, download=3.0, vary=0.2, streams=2), [])
    bound = "rather than GPU Compute and the GPU may be under-utilized."
    remedy = (
        "  Consider removing --includeDataTransfers to disable data transfers and potentially "
        "increase throughput."
    )
    assert text.splitlines()[-10:] == [
        f"* Throughput may be bound by Enqueue Time {bound}",
        "  If you are using --noCudaGraph, removing it may increase throughput.",
        f"* Throughput may be bound by host-to-device transfers for the inputs {bound}",
        remedy,
        f"* Throughput may be bound by device-to-host transfers for the outputs {bound}",
        remedy,
        "* GPU compute time is unstable, with coefficient of variance = 4.7619%.",
        "  If not already in use, locking GPU clock frequency may improve the stability.",
        "* Multiple inference streams are used. Latencies may not be accurate since inferences "
        'may run in   parallel. Please use "Throughput" as the performance metric instead.',
        "Explanations of the performance metrics are printed in the verbose logs.",
    ]


def test_details_average_as_many_queries_as_asked_for():
    lines = summary(TIMING, [], 4).splitlines()
    assert lines[2:7] == [
        "",
        "=== Trace details ===",
        "Trace averages of 4 runs:",
        "Average on 4 runs - Host latency: 2.15 ms",
        "Average on 4 runs - Host latency: 2.55 ms",
    ]
    assert lines[7] == ""  # the last two queries make no average
    text = summary(gpu(4), [], 2)
    line = "Average on 2 runs - GPU latency: 2 ms - Host latency: 2.75 ms (enqueue 0.1 ms)"
    assert text.count(line) == 2


def test_the_middle_of_very_many_averages_is_left_out():
    many = Timing(queries=[(float(n), n + 1.0) for n in range(1000)], wall_ms=1000)
    text = summary(many, [], 2)
    assert text.count("Average on 2 runs") == 400
    assert "... Omitting 100 lines" in text
    assert "Omitting" not in summary(many, [], 3)


def test_explanations_name_the_lines_of_the_summary():
    for timing in (gpu(), TIMING):
        lines = explanations(timing).splitlines()
        assert lines[0] == "=== Explanations of the performance metrics ==="
        text = summary(timing, [])
        assert all(f"\n{line.partition(':')[0]}: " in text for line in lines[1:])
    assert len(explanations(gpu()).splitlines()) == 9


def test_trace_has_the_keys_of_trtexec():
    entries = trace({"FP32": TIMING, "INT8": Timing(queries=[(1.0, 1.5)], wall_ms=1)})
    assert [entry["format"] for entry in entries] == ["FP32"] * 10 + ["INT8"]
    last = entries[-1]
    assert last["latencyMs"] == last["computeMs"] == 0.5
    assert (last["startComputeMs"], last["endComputeMs"]) == (1.0, 1.5)
    keys = {f"{edge}{part}Ms" for edge in ("start", "end") for part in ("Enq", "H2d", "D2h")}
    assert keys <= last.keys()
    assert last["h2dMs"] == last["d2hMs"] == 0


def test_trace_of_a_gpu_has_all_its_stages():
    (first, *_) = trace({"FP16": gpu()})
    assert first == {
        "format": "FP16",
        **{"startEnqMs": 0.0, "endEnqMs": 0.1, "startH2dMs": 0.0, "endH2dMs": 0.5},
        **{"startComputeMs": 1.0, "endComputeMs": 3.0, "startD2hMs": 5.0, "endD2hMs": 5.25},
        **{"h2dMs": 0.5, "computeMs": 2.0, "d2hMs": 0.25, "latencyMs": 2.75},
    }
