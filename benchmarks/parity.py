"""Whether our networks compute what those of others do: random weights, one image, CPU, FP32.

python benchmarks/parity.py [--mask2former DIR] [--pem DIR] [--pidnet DIR]
                            [-o benchmarks/parity.json]

Each DIR is a checkout of the authors' repository: facebookresearch/Mask2Former,
NiccoloCavagnero/PEM, XuJiacong/PIDNet. Without them the rows of transformers alone are made.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import parity_authors
import torch
from torch import Tensor, nn
from transformers import (
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    ResNetConfig,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SwinConfig,
)
from transformers.utils import logging
from untrained import randomise

from emca.cli import Parser, progress, run
from runtime.results.output import json_output, origin
from segdata.classes import ADE20K
from segdata.datasets import open_dataset
from train.models import Network, build_model
from train.models.backbones import MIT, STAGES
from train.models.decoder import MaskedCrossAttention
from train.models.emca import PrototypeCrossAttention
from train.models.segformer import DECODER_DIM
from train.sources import mask2former, maskformer, segformer
from train.sources.imported import Imported

LABELS = {"num_labels": len(ADE20K.classes)}


class Pair(NamedTuple):
    """A network of others with random weights, and what our reader makes of it."""

    model: str
    reference: str
    theirs: nn.Module
    imported: Imported


def of_transformers(image: Tensor) -> Iterator[Pair]:
    """Models of transformers in their published sizes; `image` as in `randomise`."""
    backbones = {"Swin-T": SwinConfig, "ResNet-50": ResNetConfig}
    for name, backbone in backbones.items():
        config = Mask2FormerConfig(backbone_config=backbone(out_features=STAGES), **LABELS)
        theirs = randomise(Mask2FormerForUniversalSegmentation(config), image)
        imported = mask2former.read_hugging_face(theirs.state_dict(), config)
        yield Pair(f"Mask2Former {name}", "transformers", theirs, imported)
    for name, backbone in backbones.items():
        config = MaskFormerConfig(backbone_config=backbone(out_features=STAGES), **LABELS)
        theirs = randomise(MaskFormerForInstanceSegmentation(config), image)
        imported = maskformer.read_hugging_face(theirs.state_dict(), config)
        yield Pair(f"MaskFormer {name}", "transformers", theirs, imported)
    for name in ("mit_b0", "mit_b2"):
        depths, widths = MIT[name]
        config = SegformerConfig(
            depths=list(depths),
            hidden_sizes=list(widths),
            decoder_hidden_size=DECODER_DIM[name],
            **LABELS,
        )
        theirs = randomise(SegformerForSemanticSegmentation(config), image)
        yield Pair(
            f"SegFormer-{name[-2:].upper()}",
            "transformers",
            theirs,
            segformer.read(theirs.state_dict()),
        )


def build(imported: Imported) -> Network:
    """Our network with the weights of the other; every tensor of both is accounted for."""
    if imported.conversion.left_over:
        raise SystemExit(f"left over: {imported.conversion.left_over}")
    ours = build_model(imported.model, num_classes=imported.num_classes)
    ours.load_state_dict(imported.conversion.tensors)
    return ours.eval()


def outputs(result: Any) -> tuple[Tensor, ...]:
    """The tensors to compare: class and mask logits, or the scores of the pixels."""
    if isinstance(result, Tensor):
        return (result,)
    for names in (
        ("class_queries_logits", "masks_queries_logits"),
        ("class_logits", "mask_logits"),
        ("logits",),
        ("scores",),
    ):
        if all(hasattr(result, name) for name in names):
            return tuple(getattr(result, name) for name in names)
    return result["pred_logits"], result["pred_masks"]


def compare(pair: Pair, image: Tensor) -> dict[str, Any]:
    """Largest difference over largest value, and how far the values spread.

    Args:
        image: 1x3xHxW, 0..255.

    Returns:
        `spread`: deviation between queries, or between the scores of a pixel, over the largest
        value; near zero the comparison would say nothing. `hidden` and `blind`, where attention is
        masked: the share of positions that a query does not look at, and how many times a query's
        mask covered nothing, so that it looked everywhere.
    """
    ours = build(pair.imported)
    masks: list[Tensor] = []
    for module in ours.modules():
        if isinstance(module, (MaskedCrossAttention, PrototypeCrossAttention)):
            module.register_forward_hook(lambda _, inputs, __: masks.append(inputs[2] < 0))
    with torch.no_grad():
        expected = outputs(pair.theirs(ours.normalize(image)))
        got = tuple(x.reshape(y.shape) for x, y in zip(outputs(ours(image)), expected, strict=True))
    worst = max(
        float((a - b).abs().max() / b.abs().max()) for a, b in zip(got, expected, strict=True)
    )
    spread = min(float(b.std(dim=1).mean() / b.abs().max()) for b in expected)
    row = {
        "model": pair.model,
        "reference": pair.reference,
        "size": list(image.shape[2:]),
        "largest_difference": float(f"{worst:.1e}"),
        "spread": float(f"{spread:.1e}"),
    }
    if masks:
        row["hidden"] = round(float(torch.cat([x.flatten() for x in masks]).float().mean()), 2)
        row["blind"] = sum(int(x.all(dim=-1).sum()) for x in masks)
    return row


def revision(checkout: Path) -> str:
    """The commit of a checkout; empty where it is a plain folder."""
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main(argv: list[str] | None = None) -> None:
    """Compare each pair, print and write."""
    parser = Parser(description=__doc__.split("\n")[0])
    for name in parity_authors.PAIRS:
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help="checkout of the authors'")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    scene = open_dataset("scenes:n=1,size=512x512:val", labels=False)[0].image
    image = torch.from_numpy(scene).permute(2, 0, 1)[None]
    warnings.simplefilter("ignore")  # of the others' code about its own age
    logging.set_verbosity_error()
    normalized = Network().normalize(image)
    sources, commits = [of_transformers(normalized)], {}
    for name, pairs in parity_authors.PAIRS.items():
        if folder := getattr(args, name):
            commits[name] = revision(folder)
            sources.append(Pair(*row) for row in pairs(folder, normalized))
    with json_output(args.output) as write:
        rows = []
        for source in sources:
            for pair in progress(source, desc="parity"):
                rows.append(compare(pair, image))
                print(rows[-1], flush=True)
        facts = origin(shlex.join(["python", "benchmarks/parity.py", *words]))
        facts["versions"] |= {name: version(name) for name in ("torch", "transformers")}
        write(facts | {"commits": commits, "rows": rows})


if __name__ == "__main__":
    run(main)
