"""Classes that implement TensorRT's interfaces with calls that end the program.

python stubs.py HEADERS OUT.hpp

The fakes override what this library calls; the rest differs from version to version.
"""

import re
import sys
from pathlib import Path

CLASSES = {
    "StubRuntime": ("NvInferImpl.h", "VRuntime", "nvinfer1::apiv::VRuntime"),
    "StubEngine": ("NvInferImpl.h", "VCudaEngine", "nvinfer1::apiv::VCudaEngine"),
    "StubContext": ("NvInferImpl.h", "VExecutionContext", "nvinfer1::apiv::VExecutionContext"),
    "StubRegistry": ("NvInferRuntimeCommon.h", "IPluginRegistry", "nvinfer1::IPluginRegistry"),
}


def stub(headers: Path, name: str, file: str, base: str, full: str) -> str:
    """One class with every pure virtual function of its base."""
    text = (headers / file).read_text(encoding="utf-8")
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
    body = re.search(rf"class {base}\b[^;{{]*\{{(.*?)\n\}};", text, re.DOTALL)
    if body is None:
        raise SystemExit(f"{headers / file} has no class {base}")
    pure = re.findall(
        r"virtual\s+([^;{}]*?\))\s*((?:const)?\s*(?:noexcept)?)\s*=\s*0\s*;", body[1], re.DOTALL
    )
    lines = [
        f"    {' '.join(call.split())} {ending} override {{ std::abort(); }}"
        for call, ending in pure
        if "~" not in call
    ]
    functions = "\n".join(lines)
    return f"class {name} : public {full} {{\npublic:\n{functions}\n}};\n"


def main(headers: Path, out: Path) -> None:
    """Write all of them."""
    classes = "\n".join(stub(headers, name, *rest) for name, rest in CLASSES.items())
    out.write_text(
        "// Made by stubs.py.\n#pragma once\n\n"
        "#include <cstdlib>\n\n#include <NvInferRuntime.h>\n\n"
        "namespace fake {\n\nusing namespace nvinfer1;\n"
        "using namespace nvinfer1::apiv;\n\n"
        f"{classes}}}  // namespace fake\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
