"""Everything that needs a GPU, in one command: `make gpu-check`.

python benchmarks/gpu_check.py [--checkpoint CKPT.pth --data SPEC] [-o benchmarks/GPU.json]

Builds the kernels, checks them against their definition, runs compute-sanitizer, times them
beside PyTorch's operators, and compares whole networks in FP16 with FP32, in PyTorch and on every
backend for GPUs that is installed. Needs nvcc, cmake and
what training and export need, with PyTorch for CUDA; no network, no TensorRT.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

if not find_spec("torch"):
    print("error: PyTorch is missing; run make install", file=sys.stderr)
    sys.exit(2)
import torch

from emca.cli import Parser, run
from emca.errors import UserError
from runtime.results.output import json_output, origin

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "gpu-check"
SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")
CANNOT_RUN, FOUND = 2, 9  # exit codes of the check program and of compute-sanitizer


def require_gpu() -> str:
    """The GPU's name; UserError where PyTorch finds none."""
    if not torch.cuda.is_available():
        raise UserError("no CUDA device for PyTorch; run it on a machine with an NVIDIA GPU")
    return torch.cuda.get_device_name(0)


def require_tools() -> None:
    """UserError unless what builds the kernels is there; CMake finds nvcc and says if not."""
    if not shutil.which("cmake"):
        raise UserError("cmake is missing; apt install cmake")


def build() -> None:
    """Compile the check program and the library for this GPU alone."""
    major, minor = torch.cuda.get_device_capability(0)
    options = ["-DEMCA_GPU_CHECK=ON", f"-DCMAKE_CUDA_ARCHITECTURES={major}{minor}"]
    for words in (["-S", ROOT / "plugins", "-B", BUILD, *options], ["--build", BUILD]):
        done = subprocess.run(["cmake", *words], capture_output=True, text=True)
        if done.returncode:
            lines = (done.stderr + done.stdout).strip().splitlines()
            errors = [line.strip() for line in lines if "rror" in line] or lines
            raise UserError("the kernels do not build: " + " ".join(errors[:3]))


def check_program() -> dict[str, list[dict[str, Any]]]:
    """The lines of emca_gpu_check: its checks and its measurements.

    Raises:
        UserError: it cannot run on this GPU.
        SystemExit: a kernel is wrong.
    """
    done = subprocess.run([BUILD / "emca_gpu_check"], capture_output=True, text=True)
    if done.returncode == CANNOT_RUN:
        raise UserError(done.stderr.strip().removeprefix("error: "))
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    wrong = [line for line in lines if line.get("check") == "WRONG"]
    if done.returncode or wrong:
        raise SystemExit(f"the kernels are wrong: {wrong or done.stderr.strip()}")
    return {kind: [line for line in lines if kind in line] for kind in ("check", "measure")}


def sanitize() -> dict[str, str]:
    """The summary line of each sanitizer over the small shapes, or why it did not run.

    Raises:
        SystemExit: a sanitizer found something.
    """
    program = shutil.which("compute-sanitizer") or shutil.which(
        "compute-sanitizer", path="/usr/local/cuda/bin"
    )
    if program is None:
        return dict.fromkeys(SANITIZERS, "not run: compute-sanitizer is not installed")
    found = {}
    for tool in SANITIZERS:
        words = [program, "--tool", tool, "--error-exitcode", str(FOUND)]
        done = subprocess.run(
            [*words, BUILD / "emca_gpu_check", "--quick"], capture_output=True, text=True
        )
        found[tool] = sanitizer_result(done.returncode, done.stdout + done.stderr)
        print(f"{tool}: {found[tool]}")
    return found


def sanitizer_result(returncode: int, output: str) -> str:
    """`0 errors`, or why the tool did not run.

    Raises:
        SystemExit: it found something.
    """
    summaries = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: (.+)", output)
    summary = summaries[-1].strip() if summaries else ""
    if returncode == FOUND or re.search(r"[1-9]\d* (error|warning|hazard)", summary):
        raise SystemExit(f"compute-sanitizer: {summary or output.strip()}")
    if returncode == 0 and summary:
        return summary
    reason = [line for line in output.splitlines() if "rror" in line] or ["no output"]
    return f"not run: exit code {returncode}, {reason[-1].strip(' =')}"


def shares(measured: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each measurement with its bound's share of the time, launches counted in the bound or not."""
    return [
        {
            **line,
            "bound_percent": round(100 * line["bound_us"] / line["cold_us"], 1),
            "bound_with_launches_percent": round(
                100 * max(line["bound_us"], line["two_empty_launches_us"]) / line["cold_us"], 1
            ),
        }
        for line in measured
    ]


def load_images(spec: str, checkpoint: Path) -> torch.Tensor:
    """Up to eight images of a data set, fitted to the checkpoint's size, uint8 [N,H,W,3]."""
    import numpy as np
    from gpu_models import IMAGES

    from segdata.datasets import open_dataset
    from segdata.preprocess import fit
    from train.checkpoint import load_checkpoint

    dataset = open_dataset(spec, labels=False)
    size = load_checkpoint(checkpoint).config.eval_size
    count = min(IMAGES, len(dataset))
    return torch.from_numpy(np.stack([fit(dataset[i].image, size) for i in range(count)]))


def main(argv: list[str] | None = None) -> None:
    """Build, check, time, write."""
    parser = Parser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, help="a trained model; default: random weights")
    parser.add_argument("--data", metavar="SPEC", help="images for the checkpoint; default: noise")
    parser.add_argument("-o", "--output", type=Path, help="default: benchmarks/<gpu>.json")
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    gpu = require_gpu()
    require_tools()
    if args.data and not args.checkpoint:
        raise UserError(f"--data={args.data} needs --checkpoint: random weights say nothing of it")
    name = re.sub(r"[^a-z0-9]+", "_", gpu.lower()).strip("_")
    import gpu_backends
    import gpu_kernels
    import gpu_models

    with json_output(args.output or ROOT / "benchmarks" / f"{name}.json") as write:
        print(f"Building the kernels for {gpu}")
        build()
        lines = check_program()
        print(f"{len(lines['check'])} shapes agree with the definition")
        sanitizers = sanitize()
        kernels = gpu_kernels.Kernels(BUILD / "libemca_kernels.so")
        beside = gpu_kernels.measure(kernels)
        images = load_images(args.data, args.checkpoint) if args.data else None
        models = gpu_models.measure(kernels, args.checkpoint, images)
        result = {
            "gpu": gpu,
            "compute_capability": ".".join(map(str, torch.cuda.get_device_capability(0))),
            "torch": {"version": torch.__version__, "cuda": torch.version.cuda},
            "checks": lines["check"],
            "sanitizers": sanitizers,
            "kernels": shares(lines["measure"]),
            "kernels_beside_pytorch": beside,
            "models": models,
            "backends": gpu_backends.measure(args.checkpoint, args.data),
        }
        print(json.dumps({key: result[key] for key in list(result)[4:]}, indent=2))
        command = shlex.join(["python", "benchmarks/gpu_check.py", *words])
        write(origin(command) | result)


if __name__ == "__main__":
    run(main)
