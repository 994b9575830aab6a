"""CMake on the C++ library."""

import subprocess
import sys

from tensorrt_plugin import ROOT

SOURCE = ROOT / "runtime" / "cpp"


def cmake(*arguments, **options):
    """Run cmake; what it wrote."""
    return subprocess.run(
        ["cmake", *map(str, arguments)], capture_output=True, text=True, timeout=600, **options
    )


def configure(build, *options, source=SOURCE):
    """Configure the library, or a project with it, for the OpenVINO of this Python."""
    python = f"-DPython3_EXECUTABLE={sys.executable}"
    return cmake("-S", source, "-B", build, python, "-DCMAKE_CXX_FLAGS_RELEASE=-O1", *options)
