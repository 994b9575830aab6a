"""`python -m export.to_onnx SOURCE [-o FILE] [--size HxW] [--dynamic-batch] [--head …]`."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import shlex
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import onnx
import torch
from onnx import ModelProto

from emca.cli import Parser, parse_size, run
from emca.errors import UserError
from emca.files import atomic_path, sha256
from export.functions import with_custom_ops
from export.parity import REQUIRED_AGREEMENT, check_parity
from export.passes import finish
from export.ranges import take_ranges
from export.wrapper import OUTPUTS, DeployModel
from segdata.card import HEAD_ORDERS, HEADS, ModelCard
from segdata.classes import IGNORE_INDEX
from segdata.preprocess import MEAN, STD
from train.checkpoint import Checkpoint
from train.models.fake_quantize import remove_quantizers
from train.models.mask2former import Mask2Former
from train.sources import load_source

OPSETS = (17, 18)
SMALLEST_SIZE = 32


def export_model(
    model: DeployModel, *, size: tuple[int, int], dynamic_batch: bool = False, opset: int = 18
) -> ModelProto:
    """Trace a model into ONNX; the custom op is a bare node, metadata are the exporter's.

    Args:
        size: (H, W) of the input.
        dynamic_batch: leave the batch dimension open, else it is 1.
    """
    batch = 2 if dynamic_batch else 1
    image = torch.randint(0, 256, (batch, *size, 3), dtype=torch.uint8)
    shapes = ({0: torch.export.Dim("batch", min=1)},) if dynamic_batch else None
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            with_custom_ops(model),
            (image,),
            dynamo=True,
            opset_version=opset,
            input_names=["image"],
            output_names=OUTPUTS[model.head],
            dynamic_shapes=shapes,
            external_data=False,
            verbose=False,
        )
    return program.model_proto


def export_checkpoint(
    checkpoint: Path | str,
    target: Path,
    *,
    size: tuple[int, int] | None = None,
    head: str = "labels",
    head_order: str = "fast",
    dynamic_batch: bool = False,
    opset: int = 18,
) -> bool:
    """Export, verify against PyTorch on onnxruntime, and only then put the file in place.

    Args:
        checkpoint: of any kind that `train.sources.load_source` reads.

    Returns:
        Whether the file agrees with the model; `target` is written only if so.

    Raises:
        UserError: a checkpoint or size that cannot be used.
    """
    source = load_source(str(checkpoint), tell=print)
    size = size or source.config.eval_size
    network = source.build()
    if not isinstance(network, Mask2Former) and (head == "masks" or head_order == "official"):
        option = "--head masks" if head == "masks" else "--head-order official"
        raise UserError(
            f"{option}: '{checkpoint}' classifies pixels and predicts no masks; leave it out"
        )
    if head_order == "official" and head != "labels":
        raise UserError(
            f"--head-order official concerns --head labels alone; leave it out with --head {head}"
        )
    model = DeployModel(network, head=head, head_order=head_order).eval()
    file = export_model(model, size=size, dynamic_batch=dynamic_batch, opset=opset)
    fingerprint = sha256(Path(checkpoint)) if Path(checkpoint).is_file() else digest(source.model)
    card = model_card(source, fingerprint, size=size, head=head, head_order=head_order)
    finish(file, dataclasses.replace(card, ranges=take_ranges(file)))
    remove_quantizers(model)  # the file is in FP32
    parity = check_parity(model, file, size=size)
    print(
        f"onnxruntime against PyTorch on two other images: largest difference "
        f"{parity.largest_difference:.1e}, label agreement {parity.agreement:.3%}"
    )
    if parity:
        with atomic_path(target) as temporary:
            onnx.save(file, temporary)
        print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, opset {opset}, {size[0]}x{size[1]}")
    return bool(parity)


def model_card(
    source: Checkpoint, fingerprint: str, *, size: tuple[int, int], head: str, head_order: str
) -> ModelCard:
    """What the file of a checkpoint says about itself; `fingerprint` is the checkpoint's."""
    return ModelCard(
        classes=source.classes,
        palette=source.palette,
        mean=MEAN,
        std=STD,
        ignore_index=IGNORE_INDEX,
        input_size=size,
        head=head,
        head_order=head_order,
        precision="fp32",
        checkpoint_sha256=fingerprint,
        trained_iterations=source.iterations,
        imported_from=source.imported_from,
        versions={name: version(name) for name in ("emca", "torch", "transformers", "onnx")},
        command=shlex.join(["python", "-m", "export.to_onnx", *sys.argv[1:]]),
    )


def digest(state: dict[str, torch.Tensor]) -> str:
    """SHA-256 over the tensors of a checkpoint that is no single file, in the order of names."""
    total = hashlib.sha256()
    for name in sorted(state):
        total.update(name.encode())
        total.update(state[name].contiguous().numpy().tobytes())
    return total.hexdigest()


def default_target(source: str) -> Path:
    """`model.pth` -> `model.onnx`; `FOLDER/` -> `FOLDER/model.onnx`; a hub id -> its last part."""
    path = Path(source)
    if path.is_dir():
        return path / "model.onnx"
    return path.with_suffix(".onnx") if path.is_file() else Path(f"{path.name}.onnx")


class _quiet(warnings.catch_warnings):
    """Silence what the exporter says of its own internals."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
        for name in ("torch.onnx", "onnxscript", "onnx_ir"):
            logging.getLogger(name).setLevel(logging.ERROR)


def main(argv: list[str] | None = None) -> int:
    """Export one checkpoint; exit code 1 if the file does not agree with its model."""
    parser = Parser(prog="python -m export.to_onnx", description=__doc__)
    parser.add_argument(
        "checkpoint",
        metavar="SOURCE",
        help="model.pth of a training run; a Hugging Face folder or hub id of Mask2Former, "
        "MaskFormer or SegFormer; a detectron2 .pkl or .pth of Mask2Former; a PEM .pth; "
        "a PIDNet .pt",
    )
    parser.add_argument("-o", "--output", type=Path, help="default: SOURCE with .onnx")
    parser.add_argument("--size", help="HxW of the input (default: the size it was evaluated at)")
    parser.add_argument("--dynamic-batch", action="store_true", help="any batch size, else 1")
    parser.add_argument("--head", choices=HEADS, default="labels", help="default: labels")
    parser.add_argument(
        "--head-order",
        choices=HEAD_ORDERS,
        default="fast",
        help="fast (default): combine classes and masks at stride 4, then upsample; "
        "official: upsample every mask first, as the papers' code does",
    )
    parser.add_argument("--opset", type=int, choices=OPSETS, default=18, help="default: 18")
    args = parser.parse_args(argv)
    agrees = export_checkpoint(
        args.checkpoint,
        args.output or default_target(args.checkpoint),
        size=parse_size(args.size, "--size", least=SMALLEST_SIZE) if args.size else None,
        head=args.head,
        head_order=args.head_order,
        dynamic_batch=args.dynamic_batch,
        opset=args.opset,
    )
    if not agrees:
        print(
            f"the exported file disagrees with its model (below {REQUIRED_AGREEMENT:.1%}); "
            "nothing was written",
            file=sys.stderr,
        )
    return 0 if agrees else 1


if __name__ == "__main__":
    run(main)
