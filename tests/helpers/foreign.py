"""Checkpoints as other projects write them, from small networks with random weights.

Their names are written down here from their releases: a rule of ours that is wrong does not find
its way back.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    DetrConfig,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    PreTrainedConfig,
    PreTrainedModel,
    ResNetConfig,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SwinConfig,
)

from train.config import ModelConfig
from train.models import Network, build_model
from train.models.backbones import MIT, STAGES
from train.sources import mask2former, maskformer

CLASSES = 19
DECODER = {
    "conv_dim": 64, "mask_dim": 32, "hidden_dim": 64, "num_queries": 12, "decoder_layers": 3,
    "feedforward_dim": 80,
}  # fmt: skip
MASK2FORMER = ModelConfig(
    backbone="resnet18",
    pixel_decoder="msdeform",
    encoder_layers=1,
    encoder_feedforward_dim=48,
    pre_norm=False,
    project_levels=False,
    cross_attention="masked",
    **DECODER,
)
PEM = ModelConfig(backbone="stdc1", pixel_decoder="pem", **DECODER)
PIDNET = ModelConfig(architecture="pidnet", backbone="pidnet_s")


def network(config: ModelConfig, classes: int = CLASSES) -> Network:
    """One of our networks in evaluation mode, its weights all random."""
    torch.manual_seed(0)
    return randomise(build_model(config, num_classes=classes)).eval()


def randomise(model: nn.Module) -> nn.Module:
    """Random values also where fresh networks have zeros and ones; queries that stay apart."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if not value.is_floating_point():  # counters, and the indices of window attention
                continue
            noise = torch.randn(value.shape, generator=generator)
            if re.search("quer(y|ies)_(feat|embed)|level_embed|position_bias_table", name):
                value.copy_(noise)
            elif value.dim() > 1:
                value.copy_(noise * (1.5 / value[0].numel()) ** 0.5)
            elif name.endswith("running_var"):
                value.copy_(0.5 + noise.abs())
            elif not name.endswith("empty_weight"):
                value.add_(0.2 * noise)
    return model


def mask2former_detectron2(model: Network, *, released: bool = True) -> dict[str, Tensor]:
    """A Mask2Former as the authors' training saves it.

    Args:
        released: else as before the release, when the pixel decoder was the head itself and the
            queries were static; such files lack the loss's weights.
    """
    swin = any("swin" in name for name in model.state_dict())
    state = (_swin if swin else _resnet)(_part(model, "backbone."))
    pixel = "sem_seg_head.pixel_decoder." if released else "sem_seg_head."
    for name, value in _part(model, "pixel_decoder.").items():
        state[pixel + name] = value
    for name, value in _part(model, "decoder.").items():
        name = name if released else name.replace("query_feat", "static_query")
        state[f"sem_seg_head.predictor.{name}"] = value
    if released:
        state["criterion.empty_weight"] = torch.ones(len(model.decoder.class_embed.weight))
    return state


def pem(model: Network) -> dict[str, Tensor]:
    """A PEM with STDC as its authors' training saves it; the backbone stands there twice."""
    state = {f"backbone.{name}": value for name, value in _part(model, "backbone.").items()}
    state["backbone.x2.0.0.conv.weight"] = state["backbone.features.0.conv.weight"]
    for ours, theirs in (("pixel_decoder.", "pixel_decoder."), ("decoder.", "predictor.")):
        for name, value in _part(model, ours).items():
            state[f"sem_seg_head.{theirs}{name}"] = value
    state["criterion.empty_weight"] = torch.ones(len(model.decoder.class_embed.weight))
    return state


def pidnet(model: Network, prefix: str = "model.") -> dict[str, Tensor]:
    """A PIDNet of the release: with its losses behind a prefix, or bare."""
    bare = _part(model, "backbone.") | _part(model, "head.")
    losses = {"sem_loss.criterion.weight": torch.ones(CLASSES)} if prefix else {}
    return {prefix + name: value for name, value in bare.items()} | losses


def write_pickle(path: Path, state: dict[str, Tensor], protocol: int | None = None) -> Path:
    """A `.pkl` of the model zoo: arrays in a dictionary."""
    arrays = {name: value.numpy() for name, value in state.items()}
    tree = {"model": arrays, "__author__": "somebody", "matching_heuristics": True}
    path.write_bytes(pickle.dumps(tree, protocol))
    return path


def write_source(name: str, folder: Path) -> Path:
    """One file or, where the name ends in a slash, one folder of each kind that is imported."""
    path = folder / name
    if name.endswith("/"):
        hugging_face(path.name).save_pretrained(path)
    elif name.startswith("mask2former"):
        write_pickle(path, mask2former_detectron2(network(MASK2FORMER)))
    elif name.startswith("pem"):
        torch.save({"model": pem(network(PEM)), "iteration": 159_999}, path)
    else:
        torch.save(pidnet(network(PIDNET)), path)
    return path


def hugging_face(kind: str, backbone: str = "resnet18", **changes: object) -> PreTrainedModel:
    """A segmentation model of transformers, all of its weights random."""
    torch.manual_seed(0)
    if kind == "segformer":
        depths, widths = MIT["mit_b0"]
        options = {"depths": list(depths), "hidden_sizes": list(widths), "num_labels": CLASSES}
        return randomise(SegformerForSemanticSegmentation(SegformerConfig(**options | changes)))
    inner = _backbone_config(backbone)
    if kind == "maskformer":
        decoder = DetrConfig(
            d_model=64, num_queries=12, decoder_layers=2, decoder_ffn_dim=80,
            decoder_attention_heads=4,
        )  # fmt: skip
        options = {"decoder_config": decoder, "fpn_feature_size": 32, "mask_feature_size": 32,
                   "backbone_config": inner, "num_labels": CLASSES}  # fmt: skip
        return randomise(MaskFormerForInstanceSegmentation(MaskFormerConfig(**options | changes)))
    options = {
        "feature_size": 64, "mask_feature_size": 32, "hidden_dim": 64, "num_queries": 12,
        "num_attention_heads": 4, "encoder_layers": 1, "encoder_feedforward_dim": 48,
        "decoder_layers": 4, "dim_feedforward": 80, "backbone_config": inner,
        "num_labels": CLASSES,
    }  # fmt: skip
    return randomise(Mask2FormerForUniversalSegmentation(Mask2FormerConfig(**options | changes)))


def pair(kind: str, backbone: str = "resnet18", **changes: object) -> tuple[nn.Module, Network]:
    """A mask classifier of transformers as from `hugging_face`, and ours with its weights."""
    theirs = hugging_face(kind, backbone, **changes).eval()
    reader = mask2former if kind == "mask2former" else maskformer
    imported = reader.read_hugging_face(theirs.state_dict(), theirs.config)
    assert imported.conversion.left_over == []
    ours = build_model(imported.model, num_classes=imported.num_classes)
    ours.load_state_dict(imported.conversion.tensors)
    return theirs, ours.eval()


def check_equal(theirs: nn.Module, ours: Network, size: tuple[int, int], *, batch: int = 1) -> None:
    """Both say the same of an image, and differently of different queries.

    The more pixels, the likelier one mask logit is so close to zero that rounding decides what is
    masked, and the results part.
    """
    image = torch.randint(0, 256, (batch, 3, *size), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(ours.normalize(image))
        output = ours(image)
    for got, wanted in (
        (output.class_logits, expected.class_queries_logits),
        (output.mask_logits, expected.masks_queries_logits),
    ):
        assert got.shape == (1, *wanted.shape)
        # What the queries have in common would hide how they differ.
        got, wanted = (x - x.mean(dim=1, keepdim=True) for x in (got[0], wanted))
        assert wanted.std() > 0.02
        assert (got - wanted).norm() < 1e-4 * wanted.norm()


def _backbone_config(name: str) -> PreTrainedConfig:
    if name == "swin_tiny":
        return SwinConfig(out_features=STAGES)
    if name == "resnet50":
        return ResNetConfig(out_features=STAGES)
    return ResNetConfig(
        depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic",
        out_features=STAGES,
    )  # fmt: skip


def _part(model: Network, prefix: str) -> dict[str, Tensor]:
    state = model.state_dict()
    return {n.removeprefix(prefix): value for n, value in state.items() if n.startswith(prefix)}


def _resnet(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """detectron2's names; its frozen norms count no batches."""
    result = {}
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        name = name.replace("model.embedder.embedder.", "stem.conv1.")
        name = re.sub(
            r"model\.encoder\.stages\.(\d)\.layers\.(\d+)",
            lambda m: f"res{int(m[1]) + 2}.{m[2]}",
            name,
        )
        name = re.sub(r"\.layer\.(\d)\.", lambda m: f".conv{int(m[1]) + 1}.", name)
        name = name.replace("convolution.", "").replace("normalization.", "norm.")
        result[f"backbone.{name}"] = value
    return result


def _swin(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of Microsoft's Swin, with one matrix for query, key and value."""
    result = {}
    for name, value in state.items():
        name = name.removeprefix("model.").removeprefix("swin.")
        if match := re.fullmatch(r"encoder\.(.+\.)attention\.([qkv])_proj\.(\w+)", name):
            joined = f"backbone.{match[1]}attn.qkv.{match[3]}"
            parts = [state[f"model.swin.encoder.{match[1]}attention.{p}_proj.{match[3]}"]
                     for p in "qkv"]  # fmt: skip
            result[joined] = torch.cat(parts)
            continue
        for ours, theirs in (
            ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
            ("embeddings.norm", "patch_embed.norm"),
            ("encoder.layers", "layers"),
            ("layernorm_before", "norm1"),
            ("layernorm_after", "norm2"),
            ("attention.relative_position_bias.", "attn."),
            ("attention.o_proj", "attn.proj"),
        ):
            name = name.replace(ours, theirs)
        name = re.sub(r"hidden_states_norms\.stage(\d)", lambda m: f"norm{int(m[1]) - 1}", name)
        if name.endswith("table"):
            index = f"backbone.{name.replace('bias_table', 'index')}"
            result[index] = torch.zeros(49, 49, dtype=torch.int64)
        result[f"backbone.{name}"] = value
    return result
