"""Each baseline from its preset: an epoch on generated scenes, export, a row in the comparison."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from export import to_onnx
from runtime import compare
from train.__main__ import main as train

VAL = "scenes:n=4,size=64x96:val"
NARROW = [
    "model.conv_dim=32", "model.mask_dim=32", "model.hidden_dim=32", "model.num_queries=12",
    "model.feedforward_dim=64", "model.decoder_layers=3", "model.encoder_layers=1",
    "model.encoder_feedforward_dim=64",
]  # fmt: skip
# name: preset, what is changed of it, and the custom ops of its file
BASELINES = {
    "EMCA": ("ade20k_resnet50", NARROW, {"PrototypeAttention"}),
    "PEM": (
        "ade20k_resnet50",
        [*NARROW, "model.pixel_decoder=pem"],
        {"PrototypeAttention", "ModulatedDeformConv2d"},
    ),
    "Mask2Former": (
        "ade20k_mask2former_resnet50", NARROW, {"MultiscaleDeformableAttnPlugin_TRT"},
    ),
    "MaskFormer": ("ade20k_maskformer_resnet50", NARROW, set()),
    "SegFormer-B0": ("ade20k_segformer_b0", [], set()),
    "SwiftFormer-XS": ("ade20k_swiftformer_xs", [], set()),
    "PIDNet-S": ("cityscapes_pidnet_s", [], set()),
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The exported file of each baseline."""
    folder = tmp_path_factory.mktemp("baselines")
    found = {}
    for name, (preset, changes, _) in BASELINES.items():
        out = folder / name
        backbone = ["model.backbone=resnet18"] if "resnet50" in preset else []
        train(
            [
                preset, "train_data=scenes:n=8,size=64x96:train", f"val_data={VAL}",
                "eval_size=64x96", "model.backbone_weights=", *backbone, *changes,
                "augment.crop=64x64", "augment.short_side=64", "loss.num_points=64",
                "iterations=2", "batch_size=4", "precision=fp32", "workers=0", "--out", str(out),
            ]
        )  # fmt: skip
        assert to_onnx.main([str(out / "model.pth")]) == 0
        found[name] = out / "model.onnx"
    return found


@pytest.mark.slow
def test_each_file_has_its_custom_ops_and_no_other(files):
    for name, (*_, operators) in BASELINES.items():
        assert {f.name for f in onnx.load(files[name]).functions} == operators, name


@pytest.mark.slow
def test_all_of_them_stand_side_by_side(files, tmp_path, capsys):
    compare.main(
        [
            *(f"{name}={path}" for name, path in files.items()), "--data", VAL, "-o", str(tmp_path),
            "--iterations=2", "--duration=0", "--warmUp=0",
        ]
    )  # fmt: skip
    shown = capsys.readouterr().out
    written = json.loads((tmp_path / "compare.json").read_text())
    for name in BASELINES:
        assert name in shown
    rows = {row["model"]: row for row in written["rows"]}
    assert list(rows) == list(BASELINES)
    for name, row in rows.items():
        assert row["median_ms"] > 0, name
        assert 0 <= row["miou"] <= 1, name
