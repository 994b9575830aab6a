"""What TensorRT-RTX makes of given files for a T4 and an RTX 30, without a GPU.

python benchmarks/int8_builds.py NAME=MODEL.onnx… [-o benchmarks/int8_builds.json]

Needs tensorrt-rtx and `make plugin`. The engines are counted and thrown away.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from rtx_builds import TARGETS, build_one

from emca.cli import Parser, run
from emca.errors import UserError
from emca.files import sha256
from runtime.backends.base import ModelFile
from runtime.results.output import json_output, origin


def main(argv: list[str] | None = None) -> None:
    """Build each file for each target; write a row for each engine."""
    parser = Parser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL.onnx")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    rows = []
    with json_output(args.output) as write, tempfile.TemporaryDirectory() as folder:
        for entry in args.models:
            name, sign, path = entry.partition("=")
            if not sign:
                raise UserError(f"{entry} has no name; write NAME=MODEL.onnx")
            copy = Path(folder) / Path(path).name
            shutil.copy(path, copy)
            card = ModelFile.read(copy).card
            for target in TARGETS:
                row = {"model": name, "precision": card.precision, "sha256": sha256(copy)}
                rows.append(row | {"compute_capability": target} | build_one(copy, target))
                print(rows[-1], flush=True)
        command = shlex.join(["python", "benchmarks/int8_builds.py", *words])
        write(origin(command) | {"rows": rows})


if __name__ == "__main__":
    run(main)
