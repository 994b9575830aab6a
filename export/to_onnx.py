"""`python -m export.to_onnx CKPT.pth [-o FILE] [--size HxW] [--dynamic-batch] [--head …]`."""

from __future__ import annotations

import logging
import re
import shlex
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import onnx
import torch
from onnx import ModelProto

from export.parity import REQUIRED_AGREEMENT, check_parity
from export.passes import finish
from export.wrapper import OUTPUTS, DeployModel, with_custom_op
from segdata.card import HEADS, ModelCard
from segdata.classes import IGNORE_INDEX
from segdata.cli import Parser, run
from segdata.errors import UserError
from segdata.files import atomic_path, sha256
from segdata.preprocess import MEAN, STD
from train.checkpoint import Checkpoint, load_checkpoint

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
            with_custom_op(model),
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
    checkpoint: Path,
    target: Path,
    *,
    size: tuple[int, int] | None = None,
    head: str = "labels",
    dynamic_batch: bool = False,
    opset: int = 18,
) -> bool:
    """Export, verify against PyTorch on onnxruntime, and only then put the file in place.

    Returns:
        Whether the file agrees with the model; `target` is written only if so.

    Raises:
        UserError: a checkpoint or size that cannot be used.
    """
    source = load_checkpoint(checkpoint)
    size = size or source.config.eval_size
    model = DeployModel(source.build(), head=head).eval()
    file = export_model(model, size=size, dynamic_batch=dynamic_batch, opset=opset)
    finish(file, _card(source, checkpoint, size=size, head=head))
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


def _card(source: Checkpoint, path: Path, *, size: tuple[int, int], head: str) -> ModelCard:
    return ModelCard(
        classes=source.classes,
        palette=source.palette,
        mean=MEAN,
        std=STD,
        ignore_index=IGNORE_INDEX,
        input_size=size,
        head=head,
        precision="fp32",
        checkpoint_sha256=sha256(path),
        trained_iterations=source.iterations,
        versions={name: version(name) for name in ("emca", "torch", "transformers", "onnx")},
        command=shlex.join(["python", "-m", "export.to_onnx", *sys.argv[1:]]),
    )


class _quiet(warnings.catch_warnings):
    """Silence what the exporter says of its own internals."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
        for name in ("torch.onnx", "onnxscript", "onnx_ir"):
            logging.getLogger(name).setLevel(logging.ERROR)


def parse_size(text: str) -> tuple[int, int]:
    """`HxW` in pixels.

    Raises:
        UserError: another form, or smaller than the network can take.
    """
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or min(int(match[1]), int(match[2])) < SMALLEST_SIZE:
        raise UserError(
            f"--size {text}: write HEIGHTxWIDTH in pixels, at least {SMALLEST_SIZE}, as in 512x1024"
        )
    return int(match[1]), int(match[2])


def main(argv: list[str] | None = None) -> int:
    """Export one checkpoint; exit code 1 if the file does not agree with its model."""
    parser = Parser(prog="python -m export.to_onnx", description=__doc__)
    parser.add_argument("checkpoint", type=Path, metavar="CKPT.pth")
    parser.add_argument("-o", "--output", type=Path, help="default: CKPT.onnx beside it")
    parser.add_argument("--size", help="HxW of the input (default: the size it was evaluated at)")
    parser.add_argument("--dynamic-batch", action="store_true", help="any batch size, else 1")
    parser.add_argument("--head", choices=HEADS, default="labels", help="default: labels")
    parser.add_argument("--opset", type=int, choices=OPSETS, default=18, help="default: 18")
    args = parser.parse_args(argv)
    agrees = export_checkpoint(
        args.checkpoint,
        args.output or args.checkpoint.with_suffix(".onnx"),
        size=parse_size(args.size) if args.size else None,
        head=args.head,
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
