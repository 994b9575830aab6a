import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    DetrConfig,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    ResNetConfig,
    SwinConfig,
)

from emca.errors import UserError
from train.models import build_model
from train.models.backbones import STAGES
from train.sources.maskformer import read_hugging_face

DECODER = {
    "d_model": 32, "num_queries": 6, "decoder_layers": 2, "decoder_ffn_dim": 48,
    "decoder_attention_heads": 4,
}  # fmt: skip


def config(backbone=None, decoder=None, **changes):
    resnet18 = ResNetConfig(
        depths=[2, 2, 2, 2],
        hidden_sizes=[64, 128, 256, 512],
        layer_type="basic",
        out_features=STAGES,
    )
    return MaskFormerConfig(
        backbone_config=backbone or resnet18,
        decoder_config=DetrConfig(**{**DECODER, **(decoder or {})}),
        fpn_feature_size=32,
        mask_feature_size=16,
        **changes,
    )


@pytest.fixture(scope="module", params=["resnet18", "swin_tiny"])
def checkpoint(request, tmp_path_factory):
    backbone = SwinConfig(out_features=STAGES) if request.param == "swin_tiny" else None
    torch.manual_seed(0)
    model = MaskFormerForInstanceSegmentation(config(backbone, num_labels=4))
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    return request.param, model, load_file(folder / "model.safetensors")


def test_every_tensor_finds_its_place(checkpoint):
    name, model, _ = checkpoint
    imported = read_hugging_face(model.state_dict(), model.config)
    ours = build_model(imported.model, num_classes=imported.num_classes)
    missing = set(ours.state_dict()) - set(imported.conversion.tensors)
    assert (imported.conversion.left_over, missing) == ([], set())
    ours.load_state_dict(imported.conversion.tensors)  # shapes too
    assert imported.model.architecture == "maskformer"
    assert imported.model.backbone == name
    assert imported.num_classes == 4
    ignored = {key.rsplit(".", 1)[-1] for key in imported.conversion.unneeded}
    assert ignored <= {"empty_weight", "relative_position_index", "weight", "bias"}


def test_the_names_in_files_are_read_like_those_in_memory(checkpoint):
    _, model, in_file = checkpoint
    assert any(".fc1." in key and ".mlp." not in key for key in in_file)
    from_file = read_hugging_face(in_file, model.config).conversion.tensors
    in_memory = read_hugging_face(model.state_dict(), model.config).conversion.tensors
    assert from_file.keys() == in_memory.keys()
    for key, tensor in in_memory.items():
        assert torch.equal(from_file[key], tensor), key


def test_sizes_come_from_the_configuration():
    model = MaskFormerForInstanceSegmentation(config(num_labels=3)).config
    got = read_hugging_face({"class_predictor.weight": torch.zeros(4, 32)}, model).model
    assert (got.conv_dim, got.mask_dim, got.hidden_dim, got.feedforward_dim) == (32, 16, 32, 48)
    assert (got.num_queries, got.num_heads, got.decoder_layers) == (6, 4, 2)


def test_what_we_do_not_have_is_named():
    with pytest.raises(UserError, match=r"decoder_config\.activation_function=gelu"):
        read_hugging_face({}, config(decoder={"activation_function": "gelu"}))
    with pytest.raises(UserError, match=r"decoder_config\.auxiliary_loss=True"):
        read_hugging_face({}, config(decoder={"auxiliary_loss": True}))
    with pytest.raises(UserError, match=r"swin_tiny backbone with window_size=12"):
        read_hugging_face({}, config(SwinConfig(window_size=12, out_features=STAGES)))
