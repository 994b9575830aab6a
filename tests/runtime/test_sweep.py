import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import sweep
from runtime.comparison.sweep_set import read_set
from runtime.sweep import RECORD, main

SET = """
base: demo
data: "scenes:n=2,size=64x96:val"
set:
  train_data: "scenes:n=4,size=64x96:train"
  val_data: "scenes:n=2,size=64x96:val"
  eval_size: [64, 96]
  model: {backbone: mit_b0, conv_dim: 16, mask_dim: 16, hidden_dim: 16, num_queries: 6,
          feedforward_dim: 16, decoder_layers: 1}
  loss.num_points: 64
  augment: {crop: [64, 64], short_side: 64}
  batch_size: 2
  eval_every: 0
  workers: 0
  precision: fp32
variants:
  EMCA: []
  mean prototype: [model.prototype=mean]
"""
QUICK = ("--duration=0.01", "--warmUp=0", "--iterations=5", "--threads=1")


def run_sweep(*words):
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "runtime.sweep", *map(str, words), *QUICK],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_a_sweep_trains_exports_and_compares_and_does_nothing_twice(tmp_path):
    path, out = tmp_path / "set.yaml", tmp_path / "out"
    path.write_text(SET)

    # a variant that cannot be trained: its own one-line error, and what was done before is kept
    path.write_text(SET.replace("[model.prototype=mean]", "[model.prototype=median]"))
    failed = run_sweep(path, "iterations=2", "-o", out)
    assert failed.returncode == 2
    errors = [line for line in failed.stderr.splitlines() if line.startswith("error: ")]
    assert errors == ["error: model.prototype=median: must be one of argmax, mean"]
    assert "Traceback" not in failed.stderr
    assert not (out / "sweep.json").exists()
    first = (out / "EMCA" / "model.onnx").stat().st_mtime_ns

    path.write_text(SET)
    done = run_sweep(path, "iterations=2", "-o", out)
    assert done.returncode == 0, done.stderr
    steps = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert [line.rpartition(" (")[0] for line in steps] == [
        "[1/2] EMCA: trained before",
        "[1/2] EMCA: exported before",
        "[2/2] mean prototype: training model.prototype=mean",
        "[2/2] mean prototype: exporting",
    ]
    assert (out / "EMCA" / "model.onnx").stat().st_mtime_ns == first
    content = json.loads((out / "sweep.json").read_text())
    assert content["common_overrides"][-1] == "iterations=2"
    assert [(row["model"], row["overrides"]) for row in content["rows"]] == [
        ("EMCA", []),
        ("mean prototype", ["model.prototype=mean"]),
    ]
    assert all(row["median_ms"] > 0 and row["miou"] is not None for row in content["rows"])
    assert [model["trained_iterations"] for model in content["models"]] == [2, 2]
    assert content["variants"][1]["words"][-1] == "model.prototype=mean"
    shas = [variant["checkpoint_sha256"] for variant in content["variants"]]
    assert shas == [model["checkpoint_sha256"] for model in content["models"]]
    assert (out / "compare.md").exists()
    assert (out / "compare.svg").exists()


@pytest.fixture
def sets(tmp_path):
    path = tmp_path / "set.yaml"
    path.write_text(SET)
    return path


def test_bad_input_is_one_line_before_anything_is_trained(sets, failing, monkeypatch, tmp_path):
    monkeypatch.setattr("runtime.sweep._child", lambda *a, **k: pytest.fail("trained"))
    out = tmp_path / "out"
    assert "--output" in failing(main, sets)
    assert "no set or file 'gone.yaml'" in failing(main, "gone.yaml", "-o", out)
    assert "'seed' is not of the form" in failing(main, sets, "seed", "-o", out)
    assert "--duration=-1 is too small" in failing(main, sets, "-o", out, "--duration=-1")
    assert "nowhere" in failing(main, sets, "-o", out, "--data=folder:nowhere:val")
    assert 'no backend "x"' in failing(main, sets, "-o", out, "--backend=x")
    said = failing(main, sets, "-o", out, "--backend=tensorrt-rtx")
    assert "runs engines" in said or "is not installed" in said
    bare = tmp_path / "bare.yaml"
    bare.write_text("base: demo\nvariants: {a: []}")
    assert 'names no images to compare on; add "data:' in failing(main, bare, "-o", out)
    assert not out.exists()
    (tmp_path / "file").touch()
    assert "file" in failing(main, sets, "-o", tmp_path / "file")


def test_what_changed_is_trained_again(sets, monkeypatch, tmp_path):
    calls = []

    def child(module, *words, stdout=None):
        """Leaves what the training would leave."""
        calls.append(words)
        folder = Path(words[words.index("--out") + 1])
        folder.mkdir(exist_ok=True)
        (folder / "model.pth").write_text(" ".join(words))

    monkeypatch.setattr(sweep, "_child", child)
    folder, said = tmp_path / "EMCA", []

    def train(*words):
        calls.clear()
        plan = read_set(str(sets), words)
        sweep.trained(plan, "EMCA", folder, said.append)
        return bool(calls)

    assert train("iterations=2")
    assert not train("iterations=2")
    assert said[-1] == "trained before"
    assert train("iterations=3")
    assert not train("iterations=3")
    (folder / "model.pth").write_text("another checkpoint")
    assert train("iterations=3")
    (folder / RECORD).write_text("{")
    assert train("iterations=3")
    sets.write_text(SET.replace("base: demo", f"base: {tmp_path / 'base.yaml'}"))
    (tmp_path / "base.yaml").write_text("iterations: 2")
    assert train()
    assert not train()
    (tmp_path / "base.yaml").write_text("iterations: 4")
    assert train()


def test_a_killed_child_is_reported(monkeypatch, failing, sets, tmp_path):
    done = subprocess.CompletedProcess([], -9)
    monkeypatch.setattr("runtime.sweep.subprocess.run", lambda *a, **k: done)
    line = failing(main, sets, "-o", tmp_path / "out")
    assert "python -m train demo" in line
    assert "was killed by signal 9" in line
