import os
import shutil
import subprocess
from pathlib import Path

import pytest
import tensorrt_plugin
from tensorrt_plugin import SOURCES, WHERE, build, header_folders

MEGABYTE = 1_000_000


def configure(folder, *, environment=None, **definitions):
    """CMake's exit code and the lines of its error."""
    tensorrt_plugin.need("cmake", "make", "g++")
    command = ["cmake", "-S", SOURCES, "-B", folder]
    command += [f"-D{name}={value}" for name, value in definitions.items()]
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("TENSORRT_ROOT", "CUDACXX", "CUDA_HOME")
    }
    environment = {**inherited, **(environment or {})}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    return result.returncode, [line.strip() for line in result.stderr.splitlines()]


@pytest.mark.slow
def test_it_compiles_without_a_warning_and_shows_its_two_entry_points_only(built):
    """`build` refuses warnings; the process that loads the library brings TensorRT with it."""
    tensorrt_plugin.need("nm", "objdump")
    symbols = subprocess.check_output(["nm", "-D", "--defined-only", built.library], text=True)
    assert sorted(line.split()[-1] for line in symbols.splitlines()) == [
        "getCreators",
        "setLoggerFinder",
    ]
    needed = subprocess.check_output(["objdump", "-p", built.library], text=True)
    assert "libstdc++" in needed
    assert not any(name in needed for name in ("nvinfer", "tensorrt", "libcudart"))


@pytest.mark.slow
def test_the_library_for_all_gpus_adds_less_than_two_megabytes(tmp_path):
    tensorrt_plugin.need("nvcc", "cmake", "make", "g++")
    if not (found := header_folders()):
        pytest.skip(f"no TensorRT headers in {WHERE}")
    library = build(tmp_path, headers=next(iter(found.values())))
    assert library.stat().st_size < 2 * MEGABYTE


def test_a_folder_without_tensorrt_is_named(tmp_path):
    tensorrt_plugin.need("nvcc")
    code, lines = configure(tmp_path / "build", TENSORRT_ROOT=tmp_path)
    assert code != 0
    assert (
        f"TENSORRT_ROOT={tmp_path} has no include/NvInferRuntime.h: set TENSORRT_ROOT to an "
        "installation or a checkout of NVIDIA/TensorRT"
    ) in lines


def test_a_tensorrt_that_is_too_old_is_named(tmp_path):
    tensorrt_plugin.need("nvcc")
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "NvInferRuntime.h").write_text("class IPluginV2DynamicExt {};\n")
    code, lines = configure(tmp_path / "build", environment={"TENSORRT_ROOT": str(tmp_path)})
    assert code != 0
    assert any(
        line.startswith(f"the TensorRT in {tmp_path}/include") and "10.3 or newer" in line
        for line in lines
    )


def test_a_missing_compiler_is_named(tmp_path):
    folders = {"/usr/local/cuda/bin", *os.environ["PATH"].split(os.pathsep)}
    with_nvcc = [folder for folder in folders if Path(folder, "nvcc").exists()]
    code, lines = configure(tmp_path / "build", CMAKE_IGNORE_PATH=";".join(with_nvcc))
    assert code != 0
    assert "nvcc is missing: install the CUDA toolkit or set CUDACXX=/path/to/nvcc" in lines


def test_a_compiler_that_knows_no_gpu_is_named(tmp_path):
    other = shutil.which("true")
    code, lines = configure(tmp_path / "build", environment={"CUDACXX": other})
    assert code != 0
    assert (
        f"{other} knows none of the GPUs 75 80 86 87 89 90: install CUDA 11.8 or newer or set "
        "CUDACXX=/path/to/nvcc"
    ) in lines
