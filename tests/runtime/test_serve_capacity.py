import json
import math

import numpy as np
import pytest

from runtime.serve_capacity import Speed, main, need, read_bench

FAST = Speed("INT8", 100.0, 10.0, 12.0, 1)


def test_headroom_decides_without_a_limit():
    found = need(FAST, 300, headroom=0.7, latency_ms=None)
    assert found.instances == 5  # 300 / 70
    assert found.busy == pytest.approx(0.6)
    assert need(FAST, 350, headroom=0.7, latency_ms=None).instances == 5
    assert need(FAST, 351, headroom=0.7, latency_ms=None).instances == 6


def test_latency_asks_for_more_and_then_for_the_impossible():
    free = need(FAST, 300, headroom=0.7, latency_ms=None)
    tight = need(FAST, 300, headroom=0.7, latency_ms=40)
    assert free.p99_ms > 40 >= tight.p99_ms
    assert tight.instances > free.instances
    assert need(FAST, 300, headroom=0.7, latency_ms=11.9).instances is None


def test_the_estimate_is_near_a_simulated_queue():
    fps, rng = 60.0, np.random.default_rng(0)
    arrivals = np.cumsum(rng.exponential(1000 / fps, 200_000))
    free, waits = 0.0, []
    for at in arrivals:
        start = max(at, free)
        waits.append(start - at)
        free = start + 1000 / FAST.fps
    simulated = np.percentile(waits, 99) + FAST.p99_ms
    found = need(FAST, fps, headroom=0.7, latency_ms=None)
    assert found.instances == 1
    assert simulated * 0.9 < found.p99_ms < simulated * 1.5


def test_a_batch_has_to_fill_as_long_as_the_server_lets_it():
    whole = Speed("FP16", 100.0, 80.0, 90.0, 8)
    found = {
        delay: need(whole, 10, headroom=0.7, latency_ms=None, delay_ms=delay).p99_ms
        for delay in (0, 2, 1e6)
    }
    assert found[2] == pytest.approx(found[0] + 2)
    assert found[1e6] == pytest.approx(found[0] + 700)
    # Waiting for it is no reason that more instances are of no use.
    assert need(whole, 200, headroom=0.7, latency_ms=150).instances > 3


def row(name="FP32", fps=50.0, median=20.0, p99=25.0, **more):
    return {"format": name, "fps": fps, "median_ms": median, "p99_ms": p99, "miou": None, **more}


@pytest.fixture
def bench(tmp_path):
    """`bench(*rows)` -> a bench file."""

    def write(*rows, **more):
        path = tmp_path / "bench.json"
        path.write_text(json.dumps({"backend": "tensorrt", "rows": rows, **more}))
        return path

    return write


def test_batches_are_read(bench):
    path = bench(row(), row(fps=400.0), row(batch=2, streams=2))  # several streams, no batch
    assert [speed.batch for speed in read_bench(path).speeds] == [1, 1, 2]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "Measured on tensorrt."),
        ({"backend": "openvino"}, "Measured on openvino, which Triton does not run: bench eng"),
        ({"data_transfers": False}, "run it again with --includeDataTransfers."),
    ],
)
def test_what_the_bench_has_to_do_with_a_server_is_said(bench, capsys, more, said):
    main([str(bench(row(), **more)), "--fps=10"])
    text = capsys.readouterr().out
    assert said in text
    assert ("--includeDataTransfers" in text) == ("data_transfers" in more)


def test_table_and_verdict(bench, capsys):
    path = bench(row(miou=0.61), row("INT8", 100.0, 10.0, 12.0, miou=0.605))
    main([str(path), "--cameras=20x15", "--latency-ms=24"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "300 images per second"
    assert lines[4].split() == ["FP32", "50.0", "-", "-", "-", "61.00"]
    cells = lines[5].split()
    wanted = need(FAST, 300, headroom=0.7, latency_ms=24)
    assert cells[:3] == ["INT8", "100.0", str(wanted.instances)]
    assert float(cells[4]) <= 24
    assert any(line.startswith("FP32 does not meet 24 ms") for line in lines)
    assert not any(line.startswith("INT8 does not") for line in lines)


def test_what_the_latency_costs_is_said(bench, capsys):
    main([str(bench(row())), "--fps=70", "--latency-ms=40"])
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "would carry" in line]
    assert said == "FP32: 2 would carry the load, the latency asks for the others"


def test_bad_input_is_one_line(bench, failing, tmp_path):
    good = bench(row())
    assert "by --fps or by --cameras" in failing(main, good)
    assert "one of them" in failing(main, good, "--fps=1", "--cameras=1x1")
    assert "--fps=0 is no number above 0" in failing(main, good, "--fps=0")
    assert "--fps=nan is no number" in failing(main, good, "--fps=nan")
    assert "--cameras=20 is not COUNTxFPS" in failing(main, good, "--cameras=20")
    assert "--headroom=1 leaves no time" in failing(main, good, "--fps=1", "--headroom=1")
    assert "need 28571429 FP32 instances" in failing(main, good, "--fps=1e9")
    assert "gone.json: cannot be read" in failing(main, tmp_path / "gone.json", "--fps=1")
    assert "--delay-us=-1 is no whole number" in failing(main, good, "--fps=1", "--delay-us=-1")
    wrong = ([row(batch=-3)], [row(miou="q")])
    for rows in (*wrong, [row(fps=0)], [row(p99=math.nan)], [{"format": "FP32"}], ["x"]):
        assert "is no result of runtime/bench.py" in failing(main, bench(*rows), "--fps=1")
    assert "has no rows" in failing(main, bench(), "--fps=1")
    for content in b"[]", b"\xff" * 9999:
        good.write_bytes(content)
        said = failing(main, good, "--fps=1")
        assert "is no result of runtime/bench.py" in said
        assert len(said) < 500
