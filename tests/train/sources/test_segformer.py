import pytest
import torch
from safetensors.torch import load_file
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from emca.errors import UserError
from train.models.backbones import MIT, build_backbone
from train.models.segformer import build_segformer
from train.sources.segformer import matches, read


def reference(name, **changes):
    depths, widths = MIT[name]
    options = {"depths": list(depths), "hidden_sizes": list(widths), "num_labels": 7, **changes}
    return SegformerForSemanticSegmentation(SegformerConfig(**options)).eval()


@pytest.mark.parametrize("saved", [True, False])
def test_files_and_models_read_alike(saved, tmp_path):
    model = reference("mit_b0")
    torch.nn.init.normal_(model.decode_head.batch_norm.running_mean)
    state = model.state_dict()
    if saved:
        model.save_pretrained(tmp_path)
        state = load_file(tmp_path / "model.safetensors")
    assert ("decode_head.linear_c.0.proj.weight" in state) == saved
    assert matches(state)

    imported = read(state)
    assert imported.kind == "SegFormer-B0"
    assert (imported.model.architecture, imported.model.backbone) == ("segformer", "mit_b0")
    assert imported.num_classes == 7
    assert not imported.conversion.left_over
    ours = build_segformer(backbone=build_backbone("mit_b0"), name="mit_b0", num_classes=7).eval()
    ours.load_state_dict(imported.conversion.tensors)
    image = torch.randint(0, 256, (1, 3, 75, 101), dtype=torch.uint8)
    with torch.no_grad():
        expected = model(ours.normalize(image)).logits
        torch.testing.assert_close(ours(image).scores, expected)
    assert expected.std() > 0.01


@pytest.mark.parametrize("name", ["mit_b1", "mit_b3"])
def test_variant_from_shapes(name):
    with torch.device("meta"):
        model = reference(name, decoder_hidden_size=256 if name == "mit_b1" else 768)
    assert read(model.state_dict()).model.backbone == name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": [2, 2, 3, 2]}, r"depths \(2, 2, 3, 2\)"),
        ({"decoder_hidden_size": 128}, "head of width 128"),
    ],
)
def test_unpublished_sizes_are_refused(changes, message):
    with torch.device("meta"):
        model = reference("mit_b0", **changes)
    with pytest.raises(UserError, match=message):
        read(model.state_dict())


def test_other_checkpoints_do_not_match():
    assert not matches({})
    assert not matches({"segformer.encoder.layer_norm.0.weight": torch.ones(1)})
