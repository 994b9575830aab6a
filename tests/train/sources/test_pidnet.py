import pytest
import torch
from torch import nn

from emca.errors import UserError
from train.models.pidnet import build_pidnet
from train.sources.pidnet import matches, read

HEADS = ("final_layer.", "seghead_p.", "seghead_d.")


def released_names(model):
    """Our tensors as the release names them."""
    return {name.partition(".")[2]: tensor for name, tensor in model.state_dict().items()}


def randomized(name, num_classes):
    model = build_pidnet(name=name, num_classes=num_classes).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model


@pytest.mark.parametrize("name", ["pidnet_s", "pidnet_m", "pidnet_l"])
@pytest.mark.parametrize("prefix", ["", "model.", "module.model."])
def test_round_trip(name, prefix):
    torch.manual_seed(0)
    model = randomized(name, num_classes=11)
    state = {prefix + key: value for key, value in released_names(model).items()}
    for branch in ("conv1.3", "layer5.1.conv3", "layer3_.0.bn1", "layer4_d", "seghead_p.conv2"):
        assert any(key.startswith(f"{prefix}{branch}") for key in state)
    state["module.sem_loss.criterion.weight"] = torch.ones(11)
    assert matches(state)

    imported = read(state)
    assert imported.kind == f"PIDNet-{name[-1].upper()}"
    assert (imported.model.architecture, imported.model.backbone) == ("pidnet", name)
    assert imported.num_classes == 11
    assert imported.conversion.unneeded == ["module.sem_loss.criterion.weight"]
    assert not imported.conversion.left_over

    other = build_pidnet(name=imported.model.backbone, num_classes=11).eval()
    other.load_state_dict(imported.conversion.tensors)
    image = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        got, expected = other(image).scores, model(image).scores
    assert expected.std() > 0.01
    assert got.equal(expected)


def test_unknown_tensors_are_named():
    state = released_names(build_pidnet(name="pidnet_s", num_classes=3))
    state["layer6.0.conv1.weight"] = torch.ones(1)
    assert read(state).conversion.left_over == ["layer6.0.conv1.weight"]


def test_other_checkpoints_do_not_match():
    assert not matches({})
    assert not matches({"conv1.0.weight": torch.ones(1), "layer1.0.conv1.weight": torch.ones(1)})


def test_weights_without_heads_are_refused():
    state = released_names(build_pidnet(name="pidnet_s", num_classes=3))
    state = {key: value for key, value in state.items() if not key.startswith(HEADS)}
    assert matches(state)
    with pytest.raises(UserError, match=r"final_layer\.conv2\.weight.*trained for segmentation"):
        read(state)


def test_other_widths_are_refused():
    state = released_names(build_pidnet(name="pidnet_s", num_classes=3))
    state["conv1.0.weight"] = torch.zeros(48, 3, 3, 3)
    with pytest.raises(UserError, match=r"width 48; known: 32 \(pidnet_s\)"):
        read(state)
