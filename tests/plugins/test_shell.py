"""The plugin called as TensorRT calls it: `shell_check.cpp` calls and prints the answers."""

import ctypes.util
import re
import subprocess
from pathlib import Path

import pytest
from tensorrt_plugin import WHERE, header_folders

HAS_DRIVER = ctypes.util.find_library("cuda") is not None
SUPPORTED = "expected no size below 1, C at most 512 and a multiple of num_heads"

# Every call that succeeds, and part of what the log says of every one that does not.
CALLS = {
    "create": None,
    "create without fields": 'layer "cross" has no attribute num_heads',
    "create without collection": 'layer "" has no attribute num_heads',
    "create with zero": "num_heads is 0; expected at least 1",
    "create with minus one": "num_heads is -1; expected at least 1",
    "create with two": "num_heads is no single INT",
    "create with INT64": "num_heads is no single INT",
    "create with null": "num_heads is no single INT",
    "types": None,
    "mixed types": "the types 1, 0 and 1 (as in nvinfer1::DataType); expected FP32 (0) or FP16 (1)",
    "two inputs": "2 inputs and 2 outputs; expected 3 (query, feature, mask_logits) and 2",
    "configure": None,
    "configure with uneven bounds": None,
    "configure with 513 channels": SUPPORTED,
    "configure without bounds": SUPPORTED,
    "configure with 2^32 positions": "feature [1,4294967296,8], mask_logits [1,1,4294967296], "
    "num_heads 8; expected no size above 2147483647",
    "shape": None,
    "shape of two batches": "query [1,3,16], feature [2,5,16], mask_logits [1,3,5], num_heads 8; "
    "expected [B,M,C], [B,N,C] and [B,M,N]",
    "shape without positions": SUPPORTED,
    "shape of 12 channels": SUPPORTED,
    "shape of four dimensions": "have 4, 3 and 3 dimensions; expected [B,M,C]",
    "run on shifted memory": "feature is at 0x",
    "run without an output": "prototype is at (nil); expected device memory aligned to 16 bytes",
    "run without workspace": "the workspace is at (nil)",
}


def run_check(built, program, *, headers=None):
    """Compile shell_check.cpp as `program`, run it on the library: what it wrote."""
    compiler = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror"]
    compiler += ["-isystem", headers or built.headers, "-isystem", cuda_headers(built.library)]
    source = Path(__file__).with_name("shell_check.cpp")
    subprocess.run([*compiler, source, "-o", program, "-ldl"], check=True, timeout=120)
    options = [] if HAS_DRIVER else ["--no-gpu"]
    result = subprocess.run(
        [program, built.library, *options], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def cuda_headers(library):
    (cache,) = (library.parent / "CMakeFiles").glob("*/CMakeCUDACompiler.cmake")
    found = re.search(r'CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES "([^";]+)', cache.read_text())
    return found[1]


def answers(result):
    """Each call, whether it succeeded and what it logged."""
    lines = [re.fullmatch(r"([^:]+): (yes|no): (.*)", x) for x in result.stdout.splitlines()[1:]]
    return {line[1]: (line[2] == "yes", line[3]) for line in lines}


@pytest.fixture(scope="module")
def result(built, tmp_path_factory):
    return run_check(built, tmp_path_factory.mktemp("shell") / "shell_check")


@pytest.mark.slow
def test_every_call_is_answered_and_every_refusal_has_a_logged_reason(result):
    assert result.stdout.startswith("name: PrototypeAttention 1 emca\n")
    for call, reason in CALLS.items():
        succeeded, logged = answers(result)[call]
        assert succeeded == (reason is None), call
        if reason is None:
            assert logged == "", call
        else:
            assert logged.startswith("emca PrototypeAttention: "), call
            assert reason in logged, call


@pytest.mark.slow
@pytest.mark.skipif(HAS_DRIVER, reason="there is a CUDA driver")
def test_an_error_of_cuda_is_returned_and_named(result):
    succeeded, logged = answers(result)["run without a GPU"]
    assert not succeeded
    assert re.search("the kernel failed: .*driver", logged)


@pytest.mark.slow
def test_without_a_logger_the_reason_goes_to_stderr(result):
    assert result.stderr.splitlines() == [
        f'emca PrototypeAttention: layer "{layer}" has no attribute num_heads'
        for layer in ("throwing", "null")
    ]


@pytest.mark.slow
def test_loggers_of_another_tensorrt_are_not_called(built, tmp_path):
    """TensorRT 11 changed the virtual table of loggers: a call would end the process."""
    ours = major(built.headers)
    others = {major(folder): folder for folder in header_folders().values()}
    other = next((other for other in others if (other < 11) != (ours < 11)), None)
    if other is None:
        pytest.skip(f"only headers of TensorRT {ours} in {WHERE}; 10 and 11 are needed")
    result = run_check(built, tmp_path / f"libnvinfer.so.{other}", headers=others[other])
    assert all(not logged for _, logged in answers(result).values())
    assert CALLS["create with zero"] in result.stderr


def major(headers):
    (version,) = (name for name, folder in header_folders().items() if folder == headers)
    return int(version.split(".")[0])
