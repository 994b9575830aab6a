"""How long `make demo` takes after installation, and the memory of all its processes together.

python benchmarks/demo.py [-o benchmarks/demo.json]; run it in a fresh clone after `make install`.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from runtime.results import json_output, origin
from segdata.cli import Parser, run
from segdata.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "out" / "demo"


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


def main(argv: list[str] | None = None) -> None:
    """Run the demo from nothing and write what it took."""
    parser = Parser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    if DEMO.exists():
        raise UserError(f"{DEMO} exists; remove it, so that the whole demo is measured")
    log = ROOT / "out" / "demo.log"
    log.parent.mkdir(exist_ok=True)
    with json_output(args.output) as write, log.open("w") as file:
        began, peak = time.perf_counter(), 0
        process = subprocess.Popen(["make", "demo"], cwd=ROOT, stdout=file, stderr=file)
        while process.poll() is None:
            peak = max(peak, proportional_memory(process.pid))
            time.sleep(0.5)
        seconds = time.perf_counter() - began
        if process.returncode:
            raise UserError(f"make demo failed; see {log}")
        bench = json.loads((DEMO / "bench.json").read_text())
        result = {
            "seconds": round(seconds, 1),
            "peak_memory_gb": round(peak / 1e9, 2),
            "rows": bench["rows"],
        }
        write(origin(shlex.join(["python", "benchmarks/demo.py", *words])) | result)
    print(f"make demo: {seconds:.0f} s, {peak / 1e9:.2f} GB")


if __name__ == "__main__":
    run(main)
