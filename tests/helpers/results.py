"""What the files of a report hold, small and made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CLASSES = ["sky", "road", "a & b"]
ORIGIN = {
    "date": "2030-01-02T03:04:05+00:00",
    "command": "python -m made.up --thing",
    "machine": {"cpu": "a <fast> one", "cores": 4, "os": "Linux", "python": "3.12"},
    "versions": {"numpy": "2.1"},
    "threads": 0,
}


def row(
    name: str, ratio: float, miou: float | None = None, delta: float | None = None
) -> dict[str, Any]:
    """A format of a benchmark; it takes 100 ms times the ratio."""
    return {
        **{"format": name, "ratio": ratio, "fps": 10.0 / ratio, "miou": miou, "delta_miou": delta},
        **{"size_mb": 4.2 * ratio, "median_ms": 100 * ratio, "p90_ms": 120 * ratio},
        **{"p99_ms": 150 * ratio, "agreement": miou, "pixel_accuracy": miou, "queries": 7},
        "iou": None if miou is None else [miou, None, miou / 2],
    }


def bench(**changes: Any) -> dict[str, Any]:
    """Of runtime.bench --exportTable."""
    return {
        **ORIGIN,
        **{"backend": "openvino", "data": "x:y", "images": 3, "input": [1, 48, 64, 3]},
        **{"classes": CLASSES, "palette": [[1, 2, 3], [4, 5, 6], [7, 8, 9]], "notes": ["Mind."]},
        **{"trained_iterations": 5, "checkpoint_sha256": "ab" * 32},
        "files": {
            name: {"path": "m", "sha256": "0", "command": "python -m export.to_onnx c"}
            for name in ("FP32", "FP16", "INT8")
        },
        "rows": [row("FP32", 1, 0.7, 0), row("FP16", 1.02, 0.7, 0), row("INT8", 0.09, 0.69, -1.04)],
        "end_to_end": {
            **{"data": "x:y", "images": 3, "image_size": [48, 64]},
            "formats": {
                name: {
                    "decode": {"median_ms": 2.0, "share": 0.1},
                    "infer": {"median_ms": ms, "share": 0.9},
                    **{"total_ms": ms + 2, "passes": 5},
                }
                for name, ms in (("FP32", 100.0), ("INT8", 9.0))
            },
        },
        "clocks": {"cpu": {"governor": None, "mhz": [2500, 2600]}, "gpu": None},
        **changes,
    }


def times() -> list[dict[str, Any]]:
    """Of runtime.bench --exportTimes."""
    return [
        {"format": name, "latencyMs": ms + (n * n) % 7 / 10}
        for name, ms in (("FP32", 100), ("INT8", 9))
        for n in range(40)
    ]


def compare(models: int = 4) -> dict[str, Any]:
    """Of runtime.compare -o."""
    names = [f"Model-number-{k}" for k in range(models)]
    return {
        **ORIGIN,
        **{"backend": "openvino", "data": "x:y", "images": 3, "notes": ["Mind."]},
        "models": [
            {"name": name, "input": [48, 64], "engine": None,
             "gflops": {"backbone": 2.0, "other": 0.0, "total": 2.5},
             "params": {"backbone": 1000000, "total": 1500000}}
            for name in names
        ],
        "rows": [
            {"model": name, "trained": True, **row(form, (k + 1) * speed, 0.5 + k / 20, delta),
             "ratio_to_fp32": speed, "ratio_to_first": k + 1}
            for k, name in enumerate(names)
            for form, speed, delta in (("FP32", 1.0, 0.0), ("INT8", 0.4, -0.2))
        ],
    }  # fmt: skip


def _check(
    name: str, unit: str, value: float | None, bound: float | None, **more: Any
) -> dict[str, Any]:
    passed = None if value is None or bound is None else value >= bound
    ends = {"low": None, "high": None, "remark": ""}
    return (
        {"name": name, "unit": unit, "value": value, "bound": bound, "passed": passed} | ends | more
    )


def _iou(
    name: str, delta: float | None, low: float | None = None, high: float | None = None
) -> dict[str, Any]:
    return {
        **{"name": name, "reference": 0.5, "candidate": 0.5, "delta": delta},
        **{"low": low, "high": high},
    }


def certificate(candidate: str = "model.int8.onnx", **changes: Any) -> dict[str, Any]:
    """Of runtime.certify."""
    return {
        **ORIGIN,
        **{"certified": True, "missed": []},
        "reference": {"path": "x/model.onnx", "sha256": "ab" * 32, "precision": "fp32"}
        | {"backend": "openvino"},
        "candidate": {"path": f"x/{candidate}", "sha256": "cd" * 32, "precision": "int8"}
        | {"backend": "onnxruntime"},
        **{"data": "camvid:d:val", "images": 101, "labelled": True, "confidence": 0.95},
        **{"resamples": 2000, "seed": 7, "boundary": 3},
        "thresholds": {"max_class_drop": None},
        "checks": [
            _check("label agreement", "%", 99.5, 98.0, low=99.4, high=99.6),
            _check("boundary agreement (3 px)", "%", 91.5, 85.0, low=91.4, high=91.6),
            _check("ΔmIoU", "points", -0.15, -0.5, low=-0.24, high=-0.07),
            _check("labels in batches", "%", None, 99.0, remark="batch 1 only"),
        ],
        "batches": {"images": 0},
        "classes": ["sky", "a & b", "gone"],
        "iou": [_iou("sky", 0.01, -0.1, 0.12), _iou("a & b", -1.5, -2, -1), _iou("gone", None)],
        **{"worst": [], "notes": ["Mind the <gap>."]},
        **changes,
    }


def _score(miou: float, agreement: float = 1.0) -> dict[str, float]:
    return {"miou": miou, "agreement": agreement}


_KEY = {
    "key": {"backend": "openvino", "held_out": {"data": "x:y", "images": ["a", "b"]}},
    "calibration": {"data": "x:z", "images": ["c"], "method": "mse"},
    "fp32": _score(0.63),
}


def sensitivity(**changes: Any) -> dict[str, Any]:
    """Of calibration.sensitivity."""
    blocks = [
        {
            **{"block": name, "layers": 3, "alone": _score(0.63 - loss / 100, 1 - 2 * loss / 100)},
            "added" if name == "heads" else "left_out": _score(0.629, 0.99),
            "loss_points": {"miou": loss, "agreement": 2 * loss},
            "gain_points": {"miou": -loss / 2, "agreement": loss},
        }
        for name, loss in (
            ("backbone.0", 0.02),
            ("pixel_decoder.mask_features", 0.2),
            ("heads", 0.1),
        )
    ]
    return {
        **ORIGIN, **_KEY, "runs": 6, "done": 6, "fp16": _score(0.63), "int8": _score(0.628, 0.99),
        "blocks": blocks, **changes,
    }  # fmt: skip


def search(**changes: Any) -> dict[str, Any]:
    """Of calibration.search."""
    names = ["backbone.0", "backbone.1", "decoder.0"]
    mixes = [("FP32", 40.0, 0.63, []), ("FP16", 41.0, 0.6301, []), ("INT8", 18.0, 0.62, names)]
    mixes += [("chosen", 19.0, 0.628, names[:2]), ("1 blocks", 30.0, 0.629, names[:1])]
    return {
        **ORIGIN,
        **_KEY,
        **{"max_drop_points": 0.5, "latency": "median latency on openvino, ms", "noise": 0.01},
        **{"verdict": "2 of 3 blocks in INT8, has -0.20 points", "chosen": names[:2]},
        "formats": [{"name": n, "ms": ms, **_score(m)} for n, ms, m, _ in mixes[:4]],
        "blocks": [
            {"block": name, "format": "int8", "layers": 2, "saves_ms": 1.5,
             "alone": _score(0.629, 0.998), "why": "saves 1.50 ms"}
            for name in names
        ] + [{"block": "heads", "format": "fp16", "layers": 9, "saves_ms": None, "alone": None,
              "why": "decide the labels"}],
        "curve": [{"name": n, "ms": ms, "miou": m, "int8": blocks} for n, ms, m, blocks in mixes],
        **changes,
    }  # fmt: skip


def training() -> str:
    """The lines of metrics.jsonl, the last one cut off."""
    lines: list[dict[str, Any]] = [
        {"step": n, "loss": 9.0 - n / 10, "lr": 1e-4} for n in range(1, 60)
    ]
    lines += [{"step": 30, "miou": 0.5}, {"step": 59, "miou": 0.625}]
    return "\n".join(json.dumps(line) for line in lines) + '\n{"step": 60, "lo'


def write_all(folder: Path) -> None:
    """A folder that holds one of everything."""
    contents = {
        **{"bench.json": bench(), "times.json": times(), "compare.json": compare()},
        "int8.certificate.json": certificate(),
        "fp16.certificate.json": certificate(
            "model_of_a_name_that_no_phone_has_room_for.fp16.onnx",
            certified=False,
            missed=["too <low>"],
        ),
        **{"model.sensitivity.json": sensitivity(), "model.mixed.json": search()},
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "metrics.jsonl").write_text(training(), encoding="utf-8")
