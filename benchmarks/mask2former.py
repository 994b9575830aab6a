"""Mask2Former and EMCA with the same backbones: 512x512, batch 1, 150 classes, FP32.

python benchmarks/mask2former.py [-o benchmarks/mask2former.json] [--keep DIR]

Beside our export of Mask2Former Swin-T stands the plain export of the model of transformers,
between the same first and last steps. Random weights; one interleaved run for each backend.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig
from untrained import export_untrained, model_config, network

from emca.cli import Parser, run
from runtime.backends import CPU_BACKENDS, ModelFile, load
from runtime.graph.flops import count
from runtime.results.output import json_output, origin
from runtime.timing.latency import measure
from segdata.classes import ADE20K
from segdata.datasets import open_dataset
from train.models.decoder import Predictions
from train.models.mask2former import semantic_scores
from train.models.network import Network

SIZE = (512, 512)
PLAIN = "Mask2Former Swin-T, plain export of transformers"
RATIOS = (
    ("Mask2Former Swin-T", PLAIN),
    ("EMCA Swin-T", "Mask2Former Swin-T"),
    ("EMCA ResNet-50", "Mask2Former ResNet-50"),
    ("Mask2Former Swin-T with EMCA's cross-attention", "Mask2Former Swin-T"),
    ("Mask2Former ResNet-50 with EMCA's cross-attention", "Mask2Former ResNet-50"),
)


class Transformers(Network):
    """The model of transformers, whatever it computes inside, with our interface."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Predictions:
        """Bx3xHxW RGB, 0..255."""
        output = self.model(self.normalize(image))
        return Predictions(output.class_queries_logits[None], output.masks_queries_logits[None])

    def class_scores(self, predictions: Predictions) -> Tensor:
        """As in our Mask2Former."""
        return semantic_scores(predictions.class_logits[-1], predictions.mask_logits[-1])


def plain() -> nn.Module:
    """Mask2Former Swin-T of transformers; its fused attention cannot be exported."""
    torch.manual_seed(0)
    backbone = SwinConfig(
        out_features=["stage1", "stage2", "stage3", "stage4"], attn_implementation="eager"
    )
    config = Mask2FormerConfig(
        backbone_config=backbone, num_labels=len(ADE20K.classes), attn_implementation="eager"
    )
    return Transformers(Mask2FormerForUniversalSegmentation(config).eval()).eval()


def models() -> dict[str, Callable[[], nn.Module]]:
    """What is compared, each to be built when it is its turn."""
    found: dict[str, Callable[[], nn.Module]] = {PLAIN: plain}
    for backbone, name in (("swin_tiny", "Swin-T"), ("resnet50", "ResNet-50")):
        masked = f"ade20k_mask2former_{backbone}"
        configs = {
            f"Mask2Former {name}": model_config(masked),
            f"Mask2Former {name} with EMCA's cross-attention": model_config(
                masked, cross_attention="emca"
            ),
            f"EMCA {name}": model_config(f"ade20k_{backbone}"),
        }
        for key, config in configs.items():
            found[key] = lambda config=config: network(config)
    return found


@contextmanager
def folder_for(keep: Path | None) -> Iterator[Path]:
    """A folder for the files: one to keep, or one that goes when it is left."""
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def main(argv: list[str] | None = None) -> None:
    """Export, measure, print and write."""
    parser = Parser(description=__doc__.split("\n")[0])
    parser.add_argument("--duration", type=float, default=12, help="seconds for each file")
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help="leave the ONNX files there; those that are there already are not made again",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    image = open_dataset("scenes:n=1,size=512x512:val", labels=False)[0].image
    with folder_for(args.keep) as folder, json_output(args.output) as write:
        rows = []
        for name, build in models().items():
            path = folder / f"{name.replace(' ', '_')}.onnx"
            rows.append({"model": name, "path": path})
            if not path.exists():
                seconds = export_untrained(build(), path, size=SIZE)
                rows[-1]["export_seconds"] = round(seconds, 1)
                print(f"{name}: exported in {seconds:.0f} s", flush=True)
        for backend in CPU_BACKENDS:
            loaded = {row["model"]: load(row["path"], backend) for row in rows}
            for row, timing in zip(
                rows, measure(loaded, image, duration_s=args.duration).values(), strict=True
            ):
                row[f"{backend}_median_ms"] = round(timing.median, 1)
                row["gflops"] = {
                    part: round(flops / 1e9, 2)
                    for part, flops in count(ModelFile.read(row["path"]).proto).flops.items()
                }
            for backend_object in loaded.values():
                backend_object.close()
        by_name = {row.pop("model"): row for row in rows}
        ratios = {
            f"{one} / {other}": {
                backend: round(
                    by_name[one][f"{backend}_median_ms"] / by_name[other][f"{backend}_median_ms"], 3
                )
                for backend in CPU_BACKENDS
            }
            for one, other in RATIOS
        }
        for name, row in by_name.items():
            del row["path"]
            print(name, row)
        print(ratios)
        command = shlex.join(["python", "benchmarks/mask2former.py", *words])
        write(
            origin(command)
            | {"weights": "random: speed only", "size": list(SIZE), "models": by_name}
            | {"ratios": ratios}
        )


if __name__ == "__main__":
    run(main)
