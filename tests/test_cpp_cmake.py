"""The C++ library as CMake sees it: what is missing, and as a part of somebody else's project."""

import importlib.util
import shutil

import pytest
from cpp_build import SOURCE, configure


@pytest.fixture(autouse=True)
def _tools():
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")


def test_what_is_missing_is_named(tmp_path):
    for number, (option, words) in enumerate(
        {
            f"-DTENSORRT_ROOT={tmp_path}": f"{tmp_path} has no include/NvInferRuntime.h",
            "-DEMCA_WITH_TENSORRT=OFF": "neither OpenVINO nor TensorRT is found",
        }.items()
    ):
        result = configure(tmp_path / str(number), "-DEMCA_WITH_OPENVINO=OFF", option)
        if "OpenCV's headers are missing" in result.stderr:
            pytest.skip("OpenCV's headers are missing")
        assert result.returncode != 0
        assert words in result.stderr


def test_a_project_that_holds_it_keeps_its_own_options(tmp_path):
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.22)\n"
        "project(robot LANGUAGES CXX)\n"
        f"add_subdirectory({SOURCE} emca)\n"
    )
    result = configure(tmp_path / "build", "-DEMCA_WITH_TENSORRT=OFF", source=tmp_path)
    missing = [line for line in result.stderr.splitlines() if "missing" in line]
    if result.returncode and missing:
        pytest.skip(missing[0].strip())
    assert result.returncode == 0, result.stderr
    kept = (tmp_path / "build" / "CMakeCache.txt").read_text()
    assert "EMCA_BUILD_TESTS:BOOL=OFF" in kept
    assert "BUILD_SHARED_LIBS" not in kept
