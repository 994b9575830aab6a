"""What TensorRT made of a network, and what each layer of it takes."""

from __future__ import annotations

import json
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emca.errors import UserError
from runtime.backends.base import LayerInfo, LayerTimes, by_layer
from runtime.backends.trt.run import Loaded, Run, Shape, set_shape


def layer_times(loaded: Loaded, images: NDArray[np.uint8], profile: int, runs: int) -> LayerTimes:
    """Run a contiguous batch so many times with TensorRT's profiler and without graphs.

    Raises:
        UserError: TensorRT refuses to run or to tell.
    """
    profiler = _profiler(loaded.trt)
    run = Run(replace(loaded, graphs=False), images.shape, profile)
    try:
        run.infer(images)  # the first run is none like the others
        context = run.context
        context.enqueue_emits_profile = False
        context.profiler = profiler
        taken = []
        for _ in range(runs):
            profiler.layers = []
            run.infer(images)
            if not context.report_to_profiler():
                raise loaded.refusal()
            taken.append(profiler.layers)
    finally:
        run.close()
    return by_layer(taken)


def layer_info(loaded: Loaded, shape: Shape, profile: int) -> LayerInfo:
    """The layers that run a batch of this shape, as the inspector tells them.

    Raises:
        UserError: TensorRT refuses to tell.
    """
    trt, engine = loaded.trt, loaded.engine
    # Without the shapes of its inputs the inspector leaves out the types. This context has no
    # memory of its own and cannot run.
    context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    inspector = engine.create_engine_inspector()
    if context is None or inspector is None:
        raise loaded.refusal()
    set_shape(loaded, context, shape, profile)
    loaded.cuda.synchronize(loaded.stream)
    inspector.execution_context = context
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        found = json.loads(text, strict=False)  # TensorRT writes names with control characters
        layers = found["Layers"]
        bindings = found.get("Bindings", found.get("I/O Tensors", []))  # TensorRT 10, 11
    except (ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{loaded.file.path}: its layers cannot be told ({error})") from error
    lines = inspector.get_engine_information(trt.LayerInformationFormat.ONELINE).splitlines()
    return LayerInfo([line for line in lines if line.strip()], layers, bindings)


def _profiler(trt: ModuleType) -> Any:
    class Profiler(trt.IProfiler):  # type: ignore[name-defined,misc]  # a class of the module at hand
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.layers: list[tuple[str, float]] = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.layers.append((layer_name, ms))

    return Profiler()
