"""What a measurement ran on: the machine, the packages, the command."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from runtime.backends.cuda.memory import gpu_name

PACKAGES = (
    "numpy",
    "opencv-python",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    *("tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx"),
    *("cuda-python", "pycuda"),
)


def describe() -> dict[str, str | int]:
    """The machine without anything that names it: CPU, usable cores, memory, GPU, system."""
    facts: dict[str, str | int] = {
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        facts["memory_gb"] = round(memory / 1e9)
    if gpu := gpu_name():
        facts["gpu"] = gpu
    return facts


def clock() -> dict[str, Any]:
    """What the usable cores' clocks do at this moment, as far as the system says.

    Returns:
        `governor`: how the frequency is chosen, `mhz`: the slowest and the fastest of the cores;
        an entry that cannot be read is None. A clock that moves makes latencies move.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    policies = [Path(f"/sys/devices/system/cpu/cpu{core}/cpufreq") for core in cores]
    governors = {text for policy in policies if (text := system_text(policy / "scaling_governor"))}
    khz = [system_text(policy / "scaling_cur_freq") for policy in policies]
    mhz = [float(value) / 1000 for value in khz if value.isdigit()] or _cpuinfo_mhz(cores)
    return {
        "governor": ", ".join(sorted(governors)) or None,
        "mhz": [round(min(mhz)), round(max(mhz))] if mhz else None,
    }


def usable_cores() -> int:
    """Cores this process may run on, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def versions() -> dict[str, str]:
    """The version of each package that takes part in inference and is installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def command_line(module: str, argv: Sequence[str]) -> str:
    """The command as it can be pasted into a shell."""
    return f"python -m {module} {shlex.join(argv)}"


def _cpu_model() -> str:
    """The processor's name; on ARM boards, whose cpuinfo has none, that of the board."""
    board = system_text(Path("/proc/device-tree/model"))
    names = _cpuinfo("model name")
    return names[0] if names else board or platform.processor() or platform.machine()


def _cpuinfo_mhz(cores: Sequence[int]) -> list[float]:
    """The clocks of these cores, which are numbered as the entries of cpuinfo."""
    values = _cpuinfo("cpu MHz")
    return [float(values[core]) for core in cores if core < len(values)]


def _cpuinfo(key: str) -> list[str]:
    """The values of a key of /proc/cpuinfo, one per core."""
    lines = system_text(Path("/proc/cpuinfo")).splitlines()
    pairs = (line.partition(":") for line in lines)
    return [value.strip() for name, _, value in pairs if name.strip() == key]


def system_text(path: Path) -> str:
    """What a file of the system says, or nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""
