"""How long docs/deploy.md takes from a clone to the first overlays of a video, and its memory.

python benchmarks/demo.py DIR [-o benchmarks/demo.json]       # DIR is where the clone goes
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from emca.cli import Parser, run
from emca.errors import UserError
from runtime.results.output import json_output, origin

ROOT = Path(__file__).resolve().parents[1]
# The page's commands; `make demo` installs first, which is timed by itself here.
COMMANDS = {
    "install": "make install",
    "demo": "make demo",
    "infer": "source .venv/bin/activate && emca infer out/demo/model.int8.onnx "
    "out/demo/street.jpg out/demo/drive.mp4 -o overlays",
}


def proportional_memory(pid: int) -> int:
    """Bytes of a process and its descendants; shared pages count once (PSS, Linux)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(entry.name))
    total, family = 0, [pid]
    while family:
        member = family.pop()
        family += children.get(member, [])
        try:
            rollup = (Path("/proc") / str(member) / "smaps_rollup").read_text()
        except OSError:
            continue
        total += 1024 * int(re.search(r"^Pss:\s+(\d+)", rollup, re.M)[1])
    return total


def timed(command: str, folder: Path, log: IO[str]) -> tuple[float, int]:
    """Seconds and peak memory in bytes of a command, all its processes together."""
    began, peak = time.perf_counter(), 0
    process = subprocess.Popen(
        command, shell=True, executable="/bin/bash", cwd=folder, stdout=log, stderr=log
    )
    while process.poll() is None:
        peak = max(peak, proportional_memory(process.pid))
        time.sleep(0.5)
    if process.returncode:
        raise UserError(f"{command} failed; see {log.name}")
    return time.perf_counter() - began, peak


def main(argv: list[str] | None = None) -> None:
    """Follow the page from nothing and write what it took."""
    parser = Parser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="for the clone; must not exist")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    folder = args.folder.resolve()
    if folder.exists():
        raise UserError(f"{folder} exists; name one that does not")
    steps = {}
    with json_output(args.output) as write, Path(f"{folder}.log").open("w") as log:
        steps["clone"] = timed(
            f"git clone {shlex.quote(f'{ROOT}')} {shlex.quote(f'{folder}')}", ROOT, log
        )
        for name, command in COMMANDS.items():
            steps[name] = timed(command, folder, log)
        result = {
            "seconds": round(sum(seconds for seconds, _ in steps.values()), 1),
            "steps": {name: round(seconds, 1) for name, (seconds, _) in steps.items()},
            "peak_memory_gb": round(max(peak for _, peak in steps.values()) / 1e9, 2),
            "rows": json.loads((folder / "out/demo/bench.json").read_text())["rows"],
        }
        write(origin("python benchmarks/demo.py DIR") | result)
    print(f"{result['seconds']:.0f} s: {result['steps']}, {result['peak_memory_gb']} GB")


if __name__ == "__main__":
    run(main)
