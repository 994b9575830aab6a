"""The TensorRT plugin for tests: the headers at hand, and the library built from the sources."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "plugins"
WHERE = "TENSORRT_ROOT or EMCA_TENSORRT_HEADERS (folders, colon-separated)"


def header_folders() -> dict[str, Path]:
    """The folders with TensorRT's headers by version ("10.16"), newest first.

    Looked for in and below the folders of WHERE and in the system's include folders.
    """
    roots = [
        *os.environ.get("TENSORRT_ROOT", "").split(os.pathsep),
        *os.environ.get("EMCA_TENSORRT_HEADERS", "").split(os.pathsep),
        *(f"/usr/include/{machine}-linux-gnu" for machine in ("x86_64", "aarch64")),
    ]
    patterns = ("", "include/", "*/include/", "include/*-linux-gnu/")
    found = {}
    for root in filter(None, roots):
        for pattern in patterns:
            for file in Path(root).glob(f"{pattern}NvInferVersion.h"):
                found.setdefault(_version(file), file.parent)
    return dict(sorted(found.items(), key=lambda item: _numbers(item[0]), reverse=True))


def need(*programs: str) -> None:
    """Skip the test where a program is missing."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/cuda/bin"))
    missing = [program for program in programs if shutil.which(program, path=path) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} missing")


def build(folder: Path, *, headers: Path, architectures: str = "", sources: Path = SOURCES) -> Path:
    """The library from CMake; for the GPUs that a user gets unless `architectures` says "75"."""
    definitions = [f"-DTENSORRT_ROOT={headers.parent}"]
    if architectures:
        definitions.append(f"-DCMAKE_CUDA_ARCHITECTURES={architectures}")
    for command in (
        ["cmake", "-S", sources, "-B", folder, *definitions],
        ["cmake", "--build", folder],
    ):
        result = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert result.returncode == 0, result.stdout + result.stderr
        assert "warning" not in result.stdout + result.stderr
    return folder / "libemca_plugin.so"


def library() -> Path:
    """The library for a T4, built where the sources have changed; skips where it cannot be."""
    need("nvcc", "cmake", "make", "g++")
    found = header_folders()
    if not found:
        pytest.skip(f"no TensorRT headers in {WHERE}")
    folder = ROOT / "build" / "plugin-for-tests"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return build(folder, headers=next(iter(found.values())), architectures="75")


def _version(file: Path) -> str:
    text = file.read_text()
    return ".".join(
        re.search(rf"define (?:TRT_{part}_ENTERPRISE|NV_TENSORRT_{part}) (\d+)", text)[1]
        for part in ("MAJOR", "MINOR")
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
