import re
import shlex
from pathlib import Path

import pytest
from engines import profile, write_engine

from emca.cli import Parser
from emca.errors import UserError
from runtime.backends.trt.checks import (
    Here,
    check_device,
    check_version,
    explain,
    pick_profile,
    rebuild,
)
from runtime.engines.options import add_build_options, build_options

T4 = Here("10.3.0", "Tesla T4", "7.5", 200_000_000, 16_000_000_000)
ORIN = Here("10.3.0", "Orin", "8.7", 0, 0)


@pytest.fixture
def engine(tmp_path):
    return lambda **changes: write_engine(tmp_path, **changes)


@pytest.mark.parametrize("installed", ["10.3.0", "10.3.0.26"])
def test_the_version_that_built_it_reads_it(engine, installed):
    check_version(engine(), installed)


@pytest.mark.parametrize("installed", ["10.3.1", "10.16.1.11", "10.0.1", "11.4.0.106"])
def test_another_version_does_not(engine, installed):
    with pytest.raises(UserError) as error:
        check_version(engine(), installed)
    text = str(error.value)
    assert f"needs tensorrt 10.3.0, which built it, and {installed} is installed" in text
    assert "python -m runtime.build" in text
    assert "MODEL.onnx -o " in text  # its own is not there


def test_a_version_compatible_engine_takes_later_ones(engine):
    for installed in ("10.3.0", "10.16.1.11", "11.4.0.106"):
        check_version(engine(version_compatible=True), installed)
    with pytest.raises(UserError, match=r"10\.3\.0 or later, which built it, and 10\.2\.0\.19"):
        check_version(engine(version_compatible=True), "10.2.0.19")


def test_the_command_that_builds_it_again(tmp_path):
    one = {"name": "my model.engine", "profiles": (profile(1, 1, 1),)}
    engine = write_engine(tmp_path, backend="tensorrt-rtx", **one)
    engine.onnx.touch()
    start = f"python -m runtime.build {tmp_path}/model.fp16.onnx -o '{tmp_path}/my model.engine'"
    assert rebuild(engine) == f"{start} --backend=tensorrt-rtx"
    engine = write_engine(
        tmp_path,
        **one | {"profiles": (profile(1, 1, 1), profile(2, 4, 8))},
        version_compatible=True,
        hardware_compatibility="ampere_plus",
        settings={
            "plugins": ["MultiscaleDeformableAttnPlugin_TRT"],
            "workspace": 1 << 20,
            "optimization_level": 0,
            "tf32": False,
            "libraries": ["0" * 64],
            "keep_anyway": True,
        },
    )
    words = shlex.split(rebuild(engine).removeprefix(f"{start} "))
    parser = Parser()
    add_build_options(parser)
    parser.add_argument("--backend", default="tensorrt")
    args = parser.parse_args([word for word in words if word != "--dynamicPlugins=FILE"])
    options = build_options(args, args.backend, engine.input_shape)
    assert words.count("--dynamicPlugins=FILE") == 1
    assert options.profiles == engine.profiles
    assert (options.version_compatible, options.hardware_compatibility) == (True, "ampere_plus")
    told = {**engine.settings, "libraries": None, "keep_anyway": None}
    assert {**told, **options.settings()} == told
    assert args.keepAnyway


@pytest.mark.parametrize(
    ("changes", "capability", "fits"),
    [
        ({}, "7.5", True),
        ({}, "8.6", False),
        ({"compute_capabilities": ()}, "8.6", True),
        ({"compute_capabilities": ("8.6", "8.9")}, "8.9", True),
        ({"hardware_compatibility": "ampere_plus"}, "7.5", False),
        ({"hardware_compatibility": "ampere_plus"}, "8.0", True),
        ({"hardware_compatibility": "ampere_plus"}, "12.0", True),
        ({"hardware_compatibility": "same_compute_capability"}, "8.6", False),
    ],
)
def test_which_gpus_run_an_engine(engine, changes, capability, fits):
    here = Here("10.3.0", "this GPU", capability, 0, 0)
    if fits:
        check_device(engine(**changes), here)
    else:
        with pytest.raises(UserError, match=f"this GPU has {re.escape(capability)}; build it"):
            check_device(engine(**changes), here)


def test_another_gpu_is_named_beside_the_one_it_was_built_for(engine):
    with pytest.raises(UserError) as error:
        check_device(engine(), ORIN)
    assert "was built for compute capability 7.5 (Tesla T4) and Orin has 8.7" in str(error.value)


def test_the_narrowest_profile_that_allows_a_batch(engine):
    several = engine(profiles=(profile(1, 2, 8), profile(1, 1, 1), profile(4, 4, 6)))
    batches = {1: 1, 2: 0, 3: 0, 4: 2, 5: 2, 8: 0}
    assert {n: pick_profile(several, (n, 6, 8, 3)) for n in batches} == batches


def test_a_batch_that_no_profile_allows(engine):
    several = engine(profiles=(profile(1, 1, 2), profile(4, 4, 4)))
    with pytest.raises(UserError) as error:
        pick_profile(several, (3, 6, 8, 3))
    assert "takes batches of 1 to 2 or of 4 images, got 3; split the batch" in str(error.value)
    with pytest.raises(UserError) as error:
        pick_profile(several, (9, 6, 8, 3))
    assert str(error.value).endswith(
        "--minShapes=image:1x6x8x3 --optShapes=image:9x6x8x3 --maxShapes=image:9x6x8x3"
    )


# As TensorRT 8.6 to 10.16 and TensorRT-RTX 1.7 word it.
LOGS = {
    "IRuntime::deserializeCudaEngine: Error Code 6: API Usage Error (The engine plan file is not "
    "compatible with this version of TensorRT, expecting library version 10.3.0.26 got "
    "10.0.1.6, please rebuild.)": r"is of another version than tensorrt 10\.3\.0 \(.*build it",
    "Error Code 1: Serialization (Serialization assertion stdVersionRead == kSERIALIZATION_VERSION "
    "failed.Version tag does not match. Note: Current Version: 237, Serialized Engine Version: "
    "239)": "is of another version than",
    "Error Code 6: API Usage Error (The engine plan file is generated on an incompatible device, "
    "expecting compute 7.5 got compute 8.6, please rebuild.)": r"does not run on Tesla T4, .*7\.5",
    "Error Code 1: Serialization (Serialization assertion plan.header.size == blobSize failed. In "
    "parsePlan at /_src/runtime.cpp:780)": "is damaged or no engine",
    "Error Code 4: API Usage Error (Cannot deserialize engine with lean runtime since "
    "IRuntime::getEngineHostCodeAllowed() is false.)": "--versionCompatible",
    "IPluginRegistry::getCreator: Error Code 4: API Usage Error (Cannot find plugin: "
    "PrototypeAttention, version: 1, namespace:emca.)": "needs the plugin PrototypeAttention, whi",
    "[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory); Requested "
    "amount of GPU memory (17920000000 bytes) could not be allocated.":
    r"too little GPU memory for .*model\.engine: 17920 MB wanted, 200 MB of 16000 MB free",
    "IExecutionContext: Error Code 2: OutOfMemory (Requested size was 400000000 bytes.)":
    "400 MB wanted",
    "[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)":
    r"GPU memory for .*model\.engine: 200 MB of 16000 MB free",
    "Error Code 1: Cuda Runtime (In ScopedCudaStream at /_src/cudaResources.cpp:25 (cudaError 35: "
    "CUDA driver version is insufficient for CUDA runtime version))": "driver is too old for",
    "CUDA initialization failure with error: 35. Please check your CUDA installation":
    "update the driver or pip install tensorrt-cu12",
    "something new": r"tensorrt 10\.3\.0 cannot run it \(something new\)",
}  # fmt: skip


@pytest.mark.parametrize("reason", LOGS)
def test_what_tensorrt_logs_becomes_one_line(engine, reason):
    text = str(explain(engine(), reason, T4))
    assert re.search(LOGS[reason], text)
    assert "\n" not in text
    assert Path("model.engine").name in text
