"""Engines for a T4 of the project's networks, built without a GPU; the weights are random.

TensorRT-RTX's builder refuses an engine whose layers run in wider types than the file asks, so
every build proves that as well.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import tensorrt_plugin

from calibration.files import default_target, write
from calibration.fp16 import to_fp16
from calibration.int8 import to_int8
from plugins import OP_TYPE
from runtime.backends import ModelFile
from runtime.backends.engine_file import EngineFile, Profile
from runtime.build import build
from runtime.engines.job import Built
from runtime.engines.options import BuildOptions
from segdata.datasets import open_dataset

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

SIZE = (64, 96)
IMAGES = f"scenes:n=2,size={SIZE[0]}x{SIZE[1]}:train"


@dataclass(frozen=True)
class Network:
    """What is known of a preset's engines.

    Attributes:
        attentions: layers with PrototypeAttention.
        convolutions, products: how many the file asks for in INT8.
    """

    preset: str
    attentions: int
    convolutions: int
    products: int


NETWORKS = {
    "demo": Network("demo", 3, 34, 29),
    "EMCA ResNet-50": Network("ade20k_resnet50", 6, 69, 59),
    "EMCA Swin-T": Network("ade20k_swin_tiny", 6, 19, 134),
    "Mask2Former Swin-T": Network("ade20k_mask2former_swin_tiny", 0, 7, 188),
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request) -> Network:
    return NETWORKS[request.param]


@pytest.fixture(scope="module")
def files(network, tmp_path_factory) -> dict[str, Path]:
    """The FP16 and the INT8 file of a network."""
    from untrained import export_untrained, model_config
    from untrained import network as random_network

    pytest.importorskip("tensorrt_rtx")
    folder = tmp_path_factory.mktemp("engines")
    source = folder / "model.onnx"
    export_untrained(random_network(model_config(network.preset)), source, size=SIZE)
    file = ModelFile.read_fp32(source)
    dataset = open_dataset(IMAGES, labels=False)
    images = [dataset[index].image for index in range(len(dataset))]
    models = {"fp16": to_fp16(file.proto), "int8": to_int8(file.proto, images)}
    for precision, model in models.items():
        write(model, default_target(source, precision), file, precision=precision)
    return {precision: default_target(source, precision) for precision in models}


@pytest.fixture(scope="module")
def library() -> Path | None:
    """The plugin's library where it can be built here."""
    try:
        return tensorrt_plugin.library()
    except pytest.skip.Exception:
        return None


def engine_of(
    model: Path, network: Network, library: Path | None, *, capability: str = "7.5"
) -> tuple[EngineFile, Built]:
    """An engine; with the plugin where the network has it and it can be built."""
    profile = Profile(*[(1, *SIZE, 3)] * 3)
    options = BuildOptions(
        backend="tensorrt-rtx",
        compute_capability=capability,
        profiles=(profile,),
        plugins=(OP_TYPE,) if library and network.attentions else (),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMCA_PLUGIN", str(library or ""))
        return build(model, model.with_suffix(".engine"), options, command="test")


def table(built: Built) -> dict[tuple[str, str], set[str]]:
    """In what the products of each kind and asked type run; "" where no layer names them."""
    found: dict[tuple[str, str], set[str]] = {}
    for outcome in built.outcomes:
        key = outcome.product.kind, outcome.product.precision
        found.setdefault(key, set()).add(outcome.ran)
    return found


def count(built: Built, kind: str, precision: str) -> int:
    return sum(o.product.kind == kind and o.product.precision == precision for o in built.outcomes)


@pytest.mark.slow
def test_fp16(network, files, library):
    engine, built = engine_of(files["fp16"], network, library)
    assert engine.compute_capabilities == ("7.5",)
    assert engine.plugins == (
        {OP_TYPE: network.attentions} if library and network.attentions else {}
    )
    # Products in FP16 that no layer names are parts of a fusion.
    assert {ran for kinds in table(built).values() for ran in kinds} <= {"fp16", ""}
    assert sum(o.ran == "fp16" for o in built.outcomes) > 0.95 * len(built.outcomes)


@pytest.mark.slow
def test_int8(network, files, library):
    engine, built = engine_of(files["int8"], network, library)
    assert engine.card.precision == "int8"
    assert count(built, "convolution", "int8") == network.convolutions
    assert count(built, "matrix product", "int8") == network.products
    ran = table(built)
    assert ran["matrix product", "int8"] == {"int8"}
    # TensorRT-RTX has INT8 convolutions from Ampere on.
    assert ran["convolution", "int8"] == {"fp16"}
    assert any("no INT8 convolution" in note for note in built.notes)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["demo", "EMCA ResNet-50"], indirect=True)
def test_int8_convolutions_on_ampere(network, files, library):
    _, built = engine_of(files["int8"], network, library, capability="8.6")
    assert table(built)["convolution", "int8"] == {"int8"}
    assert built.notes == ()


@pytest.mark.slow
@pytest.mark.parametrize("network", ["demo"], indirect=True)
def test_the_function_in_place_of_the_plugin(network, files):
    _, built = engine_of(files["fp16"], network, None)
    assert built.plugins == {}
    similarities = [o for o in built.outcomes if "similarity" in o.product.name]
    assert len(similarities) == network.attentions
    assert {o.ran for o in similarities} == {"fp16"}
