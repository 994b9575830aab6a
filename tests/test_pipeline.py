"""The whole way as a user goes it, command by command, with the flags that the README names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from emca.__main__ import VERBS
from segdata.datasets import open_dataset

ROOT = Path(__file__).resolve().parents[1]
VAL = "scenes:n=4,size=64x96:val"
TINY = [
    "train_data=scenes:n=16,size=64x96:train", f"val_data={VAL}", "eval_size=64x96",
    "model.conv_dim=32", "model.mask_dim=32", "model.hidden_dim=32", "model.num_queries=12",
    "model.feedforward_dim=64", "loss.num_points=128", "augment.crop=64x64",
    "augment.short_side=64", "iterations=60", "batch_size=4", "eval_every=60", "precision=fp32",
]  # fmt: skip


def run(*words: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained, exported, cast, quantised, measured and reported."""
    folder = tmp_path_factory.mktemp("run") / "tiny"
    run("-m", "train", "demo", *TINY, "--out", folder)
    run("-m", "export.to_onnx", folder / "model.pth")
    run("-m", "calibration.fp16", folder / "model.onnx")
    run("-m", "calibration.int8", folder / "model.onnx", "--data", VAL, "--images", "4")
    table = run(
        "runtime/bench.py", f"--onnx={folder / 'model.onnx'}", "--fp16", "--int8",
        f"--data={VAL}", "--iterations=5", "--warmUp=0", "--duration=0",
        f"--exportTimes={folder / 'times.json'}", f"--exportTable={folder / 'bench.json'}",
    )  # fmt: skip
    assert "=== Performance summary ===" in table
    run("-m", "runtime.report", folder)
    return folder


def test_each_format_keeps_the_labels_and_the_bench_says_so(out):
    rows = {row["format"]: row for row in json.loads((out / "bench.json").read_text())["rows"]}
    assert list(rows) == ["FP32", "FP16", "INT8"]
    assert rows["FP32"]["miou"] > 0.1
    assert rows["FP16"]["agreement"] > 0.99
    assert rows["INT8"]["agreement"] > 0.9
    assert rows["INT8"]["size_mb"] < 0.5 * rows["FP32"]["size_mb"]


def test_the_engine_scores_what_training_scored(out):
    logged = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    trained = [line["miou"] for line in logged if "miou" in line][-1]
    run("-m", "runtime.evaluate", out / "model.onnx", "--data", VAL, "--json", out / "e.json")
    evaluated = json.loads((out / "e.json").read_text())
    assert evaluated["miou"] == pytest.approx(trained, abs=2e-3)


def test_the_report_stands_alone(out):
    page = (out / "report.html").read_text()
    assert page.count("<img") >= 5
    assert not re.search(r"(?:src|href)=[\"']https?:", page)


def test_inference_writes_labels_and_overlays(out, tmp_path):
    image = open_dataset("scenes:n=1,size=80x120:val")[0].image
    cv2.imwrite(str(tmp_path / "street.png"), image[..., ::-1])
    run(
        "-m",
        "runtime.infer",
        out / "model.int8.onnx",
        tmp_path / "street.png",
        "-o",
        tmp_path / "o",
    )
    labels = cv2.imread(str(tmp_path / "o" / "street.labels.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (80, 120)
    assert len(np.unique(labels)) > 2
    assert cv2.imread(str(tmp_path / "o" / "street.overlay.jpg")).shape[1] >= 120


PAGES = (
    *("README.md", "docs/own-data.txt", "docs/models.md", "docs/engines.md", "docs/int8.md"),
    *("docs/deploy.md", "docs/bench.md", "docs/t4.md", "docs/jetson.md", "docs/serve.md"),
    *("docker/README.md", "runtime/cpp/README.md"),
)


def test_every_command_of_the_pages_exists():
    text = "\n".join((ROOT / page).read_text() for page in PAGES)
    text = text.replace("\\\n", " ").replace("\\|", "|")
    commands = re.findall(r"python (-m [\w.]+|runtime/\w+\.py)([^\n`#]*)", text)
    modules = {name for name, _ in commands}
    assert modules >= {
        "-m train", "-m export.to_onnx", "-m calibration.fp16", "-m calibration.int8",
        "-m runtime.evaluate", "-m runtime.infer", "-m runtime.report", "runtime/bench.py",
        "-m runtime.compare", "-m runtime.sweep", "-m runtime.build", "-m runtime.certify",
        "-m calibration.sensitivity", "-m calibration.search", "-m calibration.roofline",
        "-m runtime.embed", "-m runtime.to_openvino", "-m runtime.serve_repository",
        "-m runtime.serve_client", "-m runtime.serve_capacity",
    }  # fmt: skip
    verbs = re.findall(r"(?m)(?:^|[$`] ?)emca ([a-z][a-z-]*)([^\n`#]*)", text)
    verbs += re.findall(r"emca:\w+ ([a-z-]+)([^\n`#]*)", text)
    assert {verb for verb, _ in verbs} >= {"infer", "bench", "build", "cast", "quantize", "embed"}
    commands += [(f"-m {VERBS[verb].module.removesuffix('.__main__')}", w) for verb, w in verbs]
    usage = {name: run(*name.split(), "--help") for name in {name for name, _ in commands}}
    for name, arguments in commands:
        for flag in re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", arguments):
            assert re.search(rf"{flag}\b", usage[name]), f"{name} {flag}"
