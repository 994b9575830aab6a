"""The names in NVIDIA's real Python bindings of TensorRT, which need no GPU to be looked at.

Wheels with the bindings alone are public; the libraries that they link to are gigabytes. Three
empty libraries that define the few functions linked against are enough to import them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

# The oldest that the project promises (JetPack 6), the last of 10, and the newest.
VERSIONS = ("10.3.0", "10.16.1.11", "11.4.0.106")
FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "getBuilderPluginRegistry",
    "getPluginRegistry",
    "initLibNvInferPlugins",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getNvOnnxParserVersion",
)
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")

LOADER = """
import ctypes
from pathlib import Path

for path in sorted(Path(__file__).parent.glob("*.so.*")):
    ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
"""
LISTING = """
import importlib, inspect, json, sys

trt = importlib.import_module(sys.argv[1])
found = {}

def add(owner, prefix, depth):
    for name in dir(owner):
        if not name.startswith("_"):
            value = getattr(owner, name, None)
            found[prefix + name] = (inspect.getdoc(value) or "").split("\\n\\n")[0][:2000]
            if inspect.isclass(value) and depth:
                add(value, prefix + name + ".", depth - 1)

add(trt, "", 2)
print(json.dumps(found))
"""


def names(version: str) -> dict[str, str]:
    """Every name of the bindings, such as "Builder.create_network", with how its help begins.

    Downloads the wheel into the user's cache the first time; skips where it cannot be had.
    """
    site = _cache() / f"{version}-{sys.implementation.cache_tag}"
    if not (site / "complete").exists():
        _install(version, site)
    return _listing("tensorrt_bindings", before="import tensorrt_libs", path=site)


def rtx_names() -> dict[str, str]:
    """The same of TensorRT-RTX, where it is installed."""
    pytest.importorskip("tensorrt_rtx")
    return _listing("tensorrt_rtx")


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "emca" / "tensorrt-bindings"


def _install(version: str, site: Path) -> None:
    site.mkdir(parents=True, exist_ok=True)
    wheel = f"tensorrt-cu12-bindings=={version}"
    options = ["--no-deps", "--only-binary=:all:", "--quiet", "--dest", site]
    result = _run([sys.executable, "-m", "pip", "download", *options, wheel], timeout=120)
    wheels = sorted(site.glob("*.whl"))
    if result.returncode or not wheels:
        lines = result.stderr.strip().splitlines()
        pytest.skip(f"{wheel} cannot be downloaded: {lines[-1] if lines else 'no reason given'}")
    zipfile.ZipFile(wheels[-1]).extractall(site)
    libraries = site / "tensorrt_libs"
    libraries.mkdir(exist_ok=True)
    (libraries / "__init__.py").write_text(LOADER)
    source = site / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS))
    for library in LIBRARIES:
        file = f"lib{library}.so.{version.split('.')[0]}"
        command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{file}", "-o", libraries / file, source]
        try:
            assert _run(command).returncode == 0
        except FileNotFoundError:
            pytest.skip("no C compiler (cc), which the bindings' empty libraries need")
    (site / "complete").touch()


def _listing(module: str, before: str = "", path: Path | None = None) -> dict[str, str]:
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    result = _run([sys.executable, "-c", f"{before}\n{LISTING}", module], env=environment)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def _run(command: list, timeout: float = 60, **options) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, **options)
