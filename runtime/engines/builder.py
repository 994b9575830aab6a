"""The calls to TensorRT that turn a file into an engine; they run in a process of their own.

Names are those that TensorRT 10.3 to 11.4 and TensorRT-RTX have in common, and networks are
strongly typed everywhere: the types in the file are those of the engine.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from onnx import ModelProto

import plugins
from emca.errors import UserError
from emca.files import atomic_path
from runtime.backends.base import INPUT_NAME, ModelFile
from runtime.backends.engine_file import Layer, Profile
from runtime.backends.trt.engine import TensorRtBackend, load_plugins
from runtime.backends.trt.module import RTX, make_log, module
from runtime.engines.device import target_device
from runtime.engines.graph import prepare, products
from runtime.engines.job import Built, Job, Progress, Tell, engine_file
from runtime.engines.layers import (
    Outcome,
    check,
    check_plugins,
    layers_of_inspector,
    layers_of_log,
    outcomes,
)
from runtime.engines.options import BuildOptions
from runtime.engines.plugins import choose_plugins, plugin_counts
from runtime.engines.trial import NOT_RUN, check_parity

OLDEST_AMPERE = 8.0


def build_engine(job: Job, tell: Tell) -> Built:
    """Build, read back, check and write the plan of a job.

    Raises:
        UserError: whatever the user can mend; the last words of TensorRT are in it.
    """
    began = time.perf_counter()
    model, options = ModelFile.read(job.model), job.options
    trt = module(options.backend)
    listed: list[str] = []  # by TensorRT-RTX, one line a layer
    log = make_log(trt, _listener(job, listed))
    device, target = target_device(options)
    builder = _builder(trt, log, options.backend)

    # A version-compatible engine brings its own runtime, which has a registry of its own.
    common = not options.version_compatible
    registry = trt.get_plugin_registry() if common else builder.get_plugin_registry()
    plugins.load_more(registry, options.libraries, shared=common)
    chosen, notes = choose_plugins(trt, log, registry, model, options)
    graph = prepare(model.proto, chosen)
    network = _parse(trt, log, builder, graph, job)
    counts = plugin_counts(trt, network, model, chosen)
    plan = _build(trt, log, builder, network, job, target, tell)
    layers: list[Layer] = []
    made: list[Outcome] = []
    try:
        layers = (
            layers_of_log(listed) if _is_rtx(options) else _inspect(trt, log, plan, job, counts)
        )
        check_plugins(layers, counts)
        made = outcomes(products(graph), layers)
        notes += check(made, model.card.precision, backend=options.backend, target=target)
    except UserError as error:
        if not job.keep_anyway:
            raise UserError(f"{job.model}: {error}; --keepAnyway keeps such an engine") from error
        notes.append(f"Kept all the same: {error}.")
    job.plan.write_bytes(memoryview(plan))
    built = Built(
        version=str(trt.__version__),
        device=device,
        compute_capability=target,
        plugins=counts,
        layers=tuple(layers),
        outcomes=tuple(made),
        seconds=time.perf_counter() - began,
        notes=tuple(notes),
        parity=NOT_RUN,
    )
    if not device:
        return built
    del builder, network, plan, registry  # their memory is the engine's now
    return _tried(job, built, model)


def _tried(job: Job, built: Built, model: ModelFile) -> Built:
    """With the parity of the plan, which is written, on the GPU at hand."""
    engine = engine_file(job, built, model.card, job.plan)
    try:
        backend = TensorRtBackend(engine, libraries=job.options.libraries)
        try:
            return dataclasses.replace(built, parity=check_parity(backend, engine, model))
        finally:
            backend.close()
    except UserError as error:
        reason = str(error).replace(str(job.plan), str(job.target))  # the plan goes when we fail
        if not job.keep_anyway:
            raise UserError(f"{reason}; --keepAnyway keeps such an engine") from error
        notes = (*built.notes, f"Kept all the same: {reason}.")
        return dataclasses.replace(built, notes=notes, parity={"run": False, "reason": reason})


def _build(
    trt: ModuleType, log: Any, builder: Any, network: Any, job: Job, target: str, tell: Tell
) -> Any:
    """The plan; brings the timing cache up to date."""
    options = job.options
    config = builder.create_builder_config()
    _configure(trt, config, options, target)
    _add_profiles(builder, network, config, options.profiles)
    config.progress_monitor = monitor = _monitor(trt, tell)
    cache = _load_timing_cache(config, options)  # alive until after the build
    plan = builder.build_serialized_network(network, config)
    del monitor  # nobody else keeps it alive during the build
    if plan is None:
        remedy = "; give the FP16 or INT8 file" if "FP32 GEMM" in _reason(log) else ""
        raise UserError(f"{job.model}: {options.backend} cannot build it ({_reason(log)}){remedy}")
    if options.timing_cache:
        _save_timing_cache(config.get_timing_cache() or cache, options.timing_cache)
    return plan


def _builder(trt: ModuleType, log: Any, backend: str) -> Any:
    try:
        return trt.Builder(log)
    except (RuntimeError, TypeError) as error:  # where there is no driver its factory gives none
        reason = _reason(log) if log.errors else str(error)
        raise UserError(
            f"{backend} cannot start ({reason}); it needs an NVIDIA GPU with its driver, while "
            "--backend=tensorrt-rtx builds without one"
        ) from error


def _parse(trt: ModuleType, log: Any, builder: Any, graph: ModelProto, job: Job) -> Any:
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph.SerializeToString()):
        said = []
        for index in range(parser.num_errors):
            parser_error = parser.get_error(index)
            where = f"node {parser_error.node_name()!r} ({parser_error.node_operator()})"
            said.append(f"{where}: {parser_error.desc()}")
        own = [text for text in log.errors if text.startswith("emca ")]  # the plugin's
        reason = "; ".join(own or said) or _reason(log)
        raise UserError(f"{job.model}: {job.options.backend} cannot parse it ({reason})")
    return network


def _configure(trt: ModuleType, config: Any, options: BuildOptions, target: str) -> None:
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else layers have no types
    if options.backend == RTX:
        names = [name for name in dir(trt.ComputeCapability) if name.startswith("SM")]
        name = f"SM{target.replace('.', '')}"
        if name not in names:
            raise UserError(
                f"--sm={target}: TensorRT-RTX {trt.__version__} builds for "
                f"{', '.join(sorted((n[2:] for n in names), key=int))}"
            )
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, name), 0)
    if options.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if options.hardware_compatibility != "none":
        config.hardware_compatibility_level = _hardware_level(trt, options, target)


def _hardware_level(trt: ModuleType, options: BuildOptions, target: str) -> Any:
    levels, name = trt.HardwareCompatibilityLevel, options.hardware_compatibility.upper()
    if not hasattr(levels, name):
        raise UserError(
            f"--hardwareCompatibilityLevel: TensorRT {trt.__version__} knows none and ampere+ only"
        )
    if name == "AMPERE_PLUS" and float(target) < OLDEST_AMPERE:
        raise UserError(
            f"--hardwareCompatibilityLevel=ampere+: this GPU has compute capability {target}, "
            f"older than Ampere's {OLDEST_AMPERE}; build on a newer one or leave it out"
        )
    return getattr(levels, name)


def _add_profiles(builder: Any, network: Any, config: Any, profiles: Sequence[Profile]) -> None:
    if network.get_input(0).shape[0] != -1:
        return  # a fixed batch needs none
    for given in profiles:
        profile = builder.create_optimization_profile()
        profile.set_shape(INPUT_NAME, given.minimum, given.optimum, given.maximum)
        config.add_optimization_profile(profile)


def _load_timing_cache(config: Any, options: BuildOptions) -> Any:
    """The cache that the build will use, or None where no file was named."""
    path = options.timing_cache
    if path is None:
        return None
    known = path.read_bytes() if path.exists() else b""
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        raise UserError(
            f"{path} is damaged or holds timings of another GPU or version of TensorRT; name "
            "another --timingCacheFile or remove it"
        )
    return cache


def _save_timing_cache(cache: Any, path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(memoryview(cache.serialize()))


def _inspect(
    trt: ModuleType, log: Any, plan: Any, job: Job, operators: Collection[str]
) -> list[Layer]:
    """The layers of a plan; `operators` are those that are plugins in it."""
    runtime = trt.Runtime(log)
    load_plugins(
        trt,
        log,
        runtime,
        operators,
        job.options.libraries,
        version_compatible=job.options.version_compatible,
    )
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise UserError(f"its new engine cannot be read back ({_reason(log)})")
    # Without the shapes of its inputs the inspector leaves out the types. This context has no
    # memory of its own and cannot run.
    context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    inspector = engine.create_engine_inspector()
    if context is None or inspector is None:
        raise UserError(f"its new engine cannot be inspected ({_reason(log)})")
    context.set_input_shape(INPUT_NAME, job.options.profiles[0].optimum)
    inspector.execution_context = context
    return layers_of_inspector(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def _monitor(trt: ModuleType, tell: Tell) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.totals: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self.totals[phase] = steps
            tell(Progress(phase, 0, steps))

        def step_complete(self, phase: str, step: int) -> bool:
            tell(Progress(phase, step + 1, self.totals[phase]))
            return True

        def phase_finish(self, phase: str) -> None:
            tell(Progress(phase, self.totals[phase], self.totals[phase]))

    return Monitor()


def _listener(job: Job, listed: list[str]) -> Callable[[str], None] | None:
    """Who hears what TensorRT logs: TensorRT-RTX lists its layers there, a line each."""
    rtx = _is_rtx(job.options)

    def hear(text: str) -> None:
        if rtx:
            listed.extend(_layer_lines(text))
        if job.verbose:
            print(text, file=sys.stderr, flush=True)

    return hear if rtx or job.verbose else None


def _is_rtx(options: BuildOptions) -> bool:
    return options.backend == RTX


def _layer_lines(text: str) -> Iterator[str]:
    return (line for line in text.splitlines() if line.startswith("Name: "))


def _reason(log: Any) -> str:
    return str(log.reason())
