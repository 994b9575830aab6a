"""Command-line options that the commands of this package share."""

from __future__ import annotations

from pathlib import Path

from calibration.ranges.calibrate import METHODS
from emca.cli import Parser
from runtime.backends import CPU_BACKENDS

DEFAULT_IMAGES = 64
DEFAULT_METHOD = "mse"

JUDGING = ("held_out", "eval_data", "backend", "threads")  # what `add_judging_options` gives


def add_range_options(parser: Parser) -> None:
    """Where ranges come from: --images, --method, --cache."""
    parser.add_argument(
        "--images",
        type=int,
        default=DEFAULT_IMAGES,
        metavar="N",
        help="how many images the ranges come from (default %(default)s)",
    )
    parser.add_argument(
        "--method", default=DEFAULT_METHOD, help=f"{', '.join(METHODS)} (default %(default)s)"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="FILE",
        help="ranges of earlier runs (default: MODEL.ranges.json beside the result)",
    )


def add_judging_options(parser: Parser, *, held_out: int) -> None:
    """What judges: --held-out, --eval-data, --backend, --threads."""
    parser.add_argument(
        "--held-out",
        type=int,
        default=held_out,
        metavar="N",
        help="how many other, labelled images judge (default %(default)s)",
    )
    parser.add_argument(
        "--eval-data", metavar="SPEC", help="take those from this data set instead of --data"
    )
    parser.add_argument("--backend", default="auto", help=f"auto, {', '.join(CPU_BACKENDS)}")
    parser.add_argument("--threads", type=int, default=0, help="0 = every core")
