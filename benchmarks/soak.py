"""Half an hour of `runtime.infer` under faults: nothing finished is lost, nothing partial stays.

python benchmarks/soak.py MODEL.onnx --data SPEC [--minutes 30] [-o FILE]

One run after the other into the same folder, each with a fault chosen at random: damaged images,
damaged and vanishing videos, a stream that drops its connections, a full disk, SIGTERM and Ctrl-C,
also while the last outputs are written.
After each run the exit code, the one line of error, every file in the folder and the fingerprints
of all earlier outputs are checked; the first surprise ends the soak with exit code 1. The full
disk is a tmpfs of 64 MB, for which the user has to be root; elsewhere that fault is left out.
"""

from __future__ import annotations

import os
import random
import shlex
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from soak_checks import Surprise, look_at
from soak_faults import FAULTS, SIZE, Soak, full_disk

from emca.cli import Parser, progress, run
from runtime.results.output import json_output, origin
from segdata.datasets import open_dataset


def main(argv: list[str] | None = None) -> int:
    """Soak until the time is over, and write what happened."""
    parser = Parser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", required=True, metavar="SPEC", help="images for the sources")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    dataset = open_dataset(args.data, labels=False)
    images = [
        np.asarray(cv2.resize(dataset[k].image, SIZE[::-1]), np.uint8)
        for k in range(min(len(dataset), 24))
    ]
    faults = [f for f in FAULTS if f is not full_disk or os.geteuid() == 0]
    runs: Counter[str] = Counter()
    surprise = ""
    began = time.monotonic()
    with json_output(args.output) as write, tempfile.TemporaryDirectory() as folder:
        soak = Soak(args.model, images, Path(folder), random.Random(args.seed))
        soak.out.mkdir()
        bar = progress(range(100), desc="soaking")
        steps = iter(bar)
        done = next(steps)
        # Each fault once, then any of them.
        queue = list(faults)
        while not surprise and (queue or time.monotonic() - began < 60 * args.minutes):
            fault = queue.pop() if queue else soak.rng.choice(faults)
            try:
                fault(soak)
                look_at(soak.out, soak.finished)
            except Surprise as error:
                surprise = f"{fault.__name__}: {error}"
            runs[fault.__name__] += 1
            for path in soak.folder.glob("*.mp4"):
                path.unlink()
            share = (time.monotonic() - began) / (0.6 * args.minutes)
            while done < min(int(share), 99):
                done = next(steps)
        command = shlex.join(["python", "benchmarks/soak.py", *words])
        result = {
            "minutes": round((time.monotonic() - began) / 60, 1),
            "runs": dict(sorted(runs.items())),
            "left out": [f.__name__ for f in FAULTS if f not in faults],
            "finished outputs": Counter("".join(path.suffixes[-2:]) for path in soak.finished),
            "surprise": surprise,
        }
        print(result)
        write(origin(command) | result)
    return 1 if surprise else 0


if __name__ == "__main__":
    run(main)
