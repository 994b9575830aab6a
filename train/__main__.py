"""`python -m train CONFIG [key=value …] [--out DIR] [--resume]`."""

from __future__ import annotations

import logging
from pathlib import Path

from emca.cli import Parser, run
from train.config import PRESETS, load_config
from train.loop import Trainer


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and train."""
    presets = ", ".join(sorted(path.stem for path in PRESETS.glob("*.yaml")))
    parser = Parser(
        prog="python -m train",
        description="Train an EMCA Mask2Former. Several processes: accelerate launch -m train …",
    )
    parser.add_argument("config", metavar="CONFIG", help=f"a YAML file or a preset: {presets}")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="such as model.backbone=resnet18"
    )
    parser.add_argument("--out", type=Path, help="folder of the run (default: out/CONFIG)")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    args = parser.parse_intermixed_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    config = load_config(args.config, args.overrides)
    out = args.out or Path("out") / Path(args.config).stem
    trainer = Trainer(config, out, resume=args.resume)
    trainer.run()
    if trainer.accelerator.is_main_process:
        print(f"{out / 'model.pth'}: next, python -m export.to_onnx {out / 'model.pth'}")


if __name__ == "__main__":
    run(main)
