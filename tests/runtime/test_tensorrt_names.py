"""Every name of TensorRT that the project uses exists in the versions that it promises."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest
from tensorrt_bindings import VERSIONS, names, rtx_names

import plugins
import runtime
from runtime.backends.engine_file import EngineFile, Layer, Profile

FOLDERS = [Path(package.__file__).parent for package in (runtime, plugins)]

# The classes of TensorRT behind variables and attributes, by the last part of their names.
OBJECTS = {
    "builder": ("Builder",),
    "config": ("IBuilderConfig", "IRuntimeConfig"),
    "network": ("INetworkDefinition",),
    "parser": ("OnnxParser",),
    "registry": ("IPluginRegistry",),
    "runtime": ("Runtime",),
    "inspector": ("EngineInspector",),
    "context": ("IExecutionContext",),
    "engine": ("ICudaEngine",),
    "cache": ("ITimingCache",),
    "creator": ("IPluginCreatorV3One", "IPluginCreator"),
    "profile": ("IOptimizationProfile",),
    "layer": ("ILayer",),
    "parser_error": ("ParserError",),
}
# TensorRT-RTX alone has these; they are used for that backend alone.
RTX_ONLY = {
    "ComputeCapability",
    "config.num_compute_capabilities",
    "config.set_compute_capability",
    "engine.create_runtime_config",
    "DynamicShapesKernelSpecializationStrategy",
    "config.dynamic_shapes_kernel_specialization_strategy",
}
OURS = {
    *(field.name for kind in (EngineFile, Layer, Profile) for field in fields(kind)),
    *(name for name in dir(EngineFile) if not name.startswith("_")),
}


def chain(node: ast.expr) -> list[str]:
    """`self._loaded.trt.LayerType` -> its four parts; nothing where it does not begin at a name."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (before := chain(node.value)):
        return [*before, node.attr]
    return []


def used_names() -> tuple[set[str], set[str]]:
    """Names used of the package, and attributes used of its objects ("builder.create_network")."""
    of_package, of_objects = set(), set()
    for file in (file for folder in FOLDERS for file in folder.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        code = re.sub(r"^(from|import) .*", "", text, flags=re.MULTILINE)  # runtime.backends.trt
        if not re.search(r"(?<!backends\.)trt\.|registry\.", code):
            continue
        for node in ast.walk(ast.parse(text)):
            parts = chain(node) if isinstance(node, ast.Attribute) else []
            if "trt" in parts[:-1]:
                of_package.add(".".join(parts[parts.index("trt") + 1 :]))
            elif len(parts) > 1 and (owner := parts[-2].lstrip("_")) in OBJECTS:
                of_objects.add(f"{owner}.{parts[-1]}")
    of_package = {name for name in of_package if "__" not in name}
    return of_package, {name for name in of_objects if name.split(".")[1] not in OURS}


def missing(known: dict[str, str]) -> set[str]:
    of_package, of_objects = used_names()
    absent = {name for name in of_package if name not in known}
    for name in of_objects:
        owner, attribute = name.split(".")
        if not any(f"{kind}.{attribute}" in known for kind in OBJECTS[owner]):
            absent.add(name)
    return absent


def test_the_search_finds_what_is_used():
    of_package, of_objects = used_names()
    assert {"Builder", "NetworkDefinitionCreationFlag.STRONGLY_TYPED", "OnnxParser"} <= of_package
    assert {"IProfiler", "LayerInformationFormat.ONELINE"} <= of_package
    assert {
        *("builder.build_serialized_network", "parser.parse", "config.set_timing_cache"),
        *("inspector.get_engine_information", "registry.all_creators", "creator.plugin_version"),
        *("registry.load_library", "parser_error.desc", "profile.set_shape", "layer.type"),
        *("runtime.deserialize_cuda_engine", "context.execute_async_v3", "engine.num_io_tensors"),
        *("context.profiler", "context.report_to_profiler", "context.enqueue_emits_profile"),
        *("engine.create_engine_inspector", "inspector.execution_context"),
    } <= of_objects


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_exists_in_real_bindings(version):
    known = names(version)
    assert "Builder.create_network" in known
    assert missing(known) <= RTX_ONLY
    if version == VERSIONS[0]:
        assert missing(known) == RTX_ONLY  # the list holds nothing that TensorRT has as well


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_keywords_exist_in_real_bindings(version):
    known = names(version)
    assert "ignore_mismatch: bool" in known["IBuilderConfig.set_timing_cache"]
    for part in ("phase_name", "parent_phase", "num_steps"):
        assert part in known["IProgressMonitor.phase_start"]
    for part in ("layer_name: str", "ms:"):
        assert part in known["IProfiler.report_layer_time"]


def test_every_name_exists_in_tensorrt_rtx():
    assert missing(rtx_names()) == set()
