import dataclasses

import pytest

from emca.errors import UserError
from train.config import PRESETS, from_dict, load_config

NAMES = sorted(path.stem for path in PRESETS.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_loads_and_survives_a_round_trip(name):
    config = load_config(name)
    assert from_dict(dataclasses.asdict(config)) == config


def test_overrides_reach_nested_keys_and_convert():
    config = load_config(
        "demo",
        ["model.backbone=swin_tiny", "iterations=1e3", "eval_size=96x128", "augment.flip=false"],
    )
    assert config.model.backbone == "swin_tiny"
    assert config.iterations == 1000
    assert config.eval_size == (96, 128)
    assert config.augment.flip is False


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.bakbone=x", r"unknown configuration key 'model.bakbone'.*model.backbone"),
        ("learing_rate=1", r"unknown configuration key 'learing_rate'.*learning_rate"),
        ("model=resnet18", "unknown configuration key 'model'"),
        ("iterations=many", "iterations=many: expected a value of type int"),
        ("iterations=1.5", "iterations=1.5: expected a value of type int"),
        ("eval_size=512", "eval_size=512: expected 2 numbers, such as 512x1024"),
        ("schedule=step", "schedule=step: must be one of poly, cosine"),
        ("quantize=int4", "quantize=int4: must be one of nothing, int8"),
        ("model.cross_attention=dot", "must be one of emca, masked"),
        ("freeze_norm=1", "freeze_norm=1: expected a value of type bool"),
        ("resume", "'resume' is not of the form key=value"),
        ("batch_size=0", "batch_size=0: must be at least 1"),
        ("iterations=-1", "iterations=-1: must be at least 0"),
        ("learning_rate=nan", "learning_rate=nan: must be positive"),
        ("learning_rate=0", "learning_rate=0.0: must be positive"),
        ("ema_decay=3", "ema_decay=3.0: must be at most"),
        ("eval_size=8x64", "eval_size=8: must be at least 32"),
        ("distill.dice_weight=-1", "distill.dice_weight=-1.0: must be at least 0"),
        ("model.hidden_dim=30", "model.hidden_dim=30: must be a multiple of 4"),
        ("model.num_heads=5", "must be a multiple of 4 and of model.num_heads=5"),
    ],
)
def test_a_wrong_override_is_named(override, message):
    with pytest.raises(UserError, match=message):
        load_config("demo", [override])


def test_text_is_taken_as_it_stands():
    config = load_config("demo", ["val_data=scenes:", "model.backbone_weights="])
    assert config.val_data == "scenes:"
    assert config.model.backbone_weights == ""


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UserError, match=r"no preset or file 'dmo'.*demo"):
        load_config("dmo")


@pytest.mark.parametrize(
    ("text", "message"), [("a: [1", "is not YAML"), ("- 1", "must hold 'key: value' lines")]
)
def test_a_broken_file_is_named(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_config(str(path))
