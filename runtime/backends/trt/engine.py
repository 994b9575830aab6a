"""TensorRT and TensorRT-RTX: engines of runtime.build on an NVIDIA GPU."""

from __future__ import annotations

import ctypes
import weakref
from collections import OrderedDict
from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import plugins
from emca.errors import UserError
from plugins import OP_TYPE
from runtime.backends.base import LayerInfo, LayerTimes, checked
from runtime.backends.cuda.memory import Cuda, open_cuda
from runtime.backends.engine_file import EngineFile
from runtime.backends.trt.checks import check_device, check_version, explain, pick_profile
from runtime.backends.trt.layers import layer_info, layer_times
from runtime.backends.trt.module import module
from runtime.backends.trt.run import Loaded, Run, Shape, give_back, here_on, log_of, say
from runtime.backends.trt.timing import TimedEngine

# A batch size that was seen before runs at once; each one kept costs its own scratch memory.
KEPT_SHAPES = 4


class TensorRtBackend:
    """Runs an engine: copies, layers and copies back as one CUDA graph per input shape.

    To be used by one thread at a time.

    Attributes:
        device: name of the GPU it runs on.
        name, path, card, input_shape, least_batch, streams: see `Backend`.
    """

    def __init__(
        self,
        engine: EngineFile,
        *,
        streams: int = 1,
        graphs: bool = True,
        libraries: Sequence[Path] = (),
        cuda: Cuda | None = None,
        trt: ModuleType | None = None,
    ) -> None:
        """Load the engine onto the GPU.

        Args:
            streams: how many batches will run at once; 0 counts as 1.
            graphs: replay CUDA graphs; otherwise every layer is launched on its own.
            libraries: plugin libraries to load beside this project's.
            cuda, trt: the GPU and the package to use, by default those that are installed.

        Raises:
            UserError: no TensorRT, driver or GPU, an engine of another version or for another
                GPU, a plugin that is missing, too little GPU memory.
        """
        trt = trt or module(engine.backend)
        check_version(engine, str(trt.__version__))
        cuda = cuda or open_cuda()
        self.name, self.path, self.card = engine.backend, engine.path, engine.card
        self.input_shape, self.streams = engine.input_shape, max(streams, 1)
        self.least_batch = engine.least_batch
        self.device = cuda.device
        check_device(engine, here_on(trt, cuda))
        if graphs and not cuda.can_capture:
            say(f"{self.name} runs without CUDA graphs, which {cuda.name} does not have")
        self._again = partial(
            TensorRtBackend,
            engine,
            streams=streams,
            graphs=graphs,
            libraries=libraries,
            cuda=cuda,
            trt=trt,
        )
        plan = deserialize(engine, trt, cuda, libraries)
        with ExitStack() as stack:
            stream = cuda.create_stream()
            stack.callback(give_back, cuda.destroy_stream, stream)
            self._loaded = Loaded(engine, trt, cuda, plan, stream, graphs and cuda.can_capture)
            self._runs: OrderedDict[Shape, Run] = OrderedDict()
            stack.callback(_close_all, self._runs)
            self._release = weakref.finalize(self, stack.pop_all().close)

    def infer(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """See `Backend.infer`.

        Raises:
            UserError: a batch that no profile of the engine allows, too little GPU memory, a
                failure on the GPU.
        """
        images = checked(images, self.input_shape, self.path)
        return self._run(images.shape).infer(images)

    def another(self) -> TensorRtBackend:
        """See `Backend.another`; the engine is loaded once more."""
        return self._again()

    def timed(
        self, images: NDArray[np.uint8], *, streams: int = 1, transfers: bool = False
    ) -> TimedEngine:
        """Queries of this batch whose stages are timed on the GPU; see `TimedEngine`.

        Raises:
            UserError: as `infer`.
        """
        images = checked(images, self.input_shape, self.path)
        profile = pick_profile(self._loaded.file, images.shape)
        return TimedEngine(self._loaded, images, profile, streams=streams, transfers=transfers)

    def layer_times(self, images: NDArray[np.uint8], runs: int) -> LayerTimes:
        """See `Backend.layer_times`."""
        images = checked(images, self.input_shape, self.path)
        return layer_times(
            self._loaded, images, pick_profile(self._loaded.file, images.shape), runs
        )

    def layer_info(self, images: NDArray[np.uint8]) -> LayerInfo:
        """See `Backend.layer_info`."""
        shape = checked(images, self.input_shape, self.path).shape
        return layer_info(self._loaded, shape, pick_profile(self._loaded.file, shape))

    def close(self) -> None:
        """See `Backend.close`."""
        self._release()
        with suppress(AttributeError):  # closed before
            del self._loaded

    def _run(self, shape: Shape) -> Run:
        if shape in self._runs:
            self._runs.move_to_end(shape)
        else:
            profile = pick_profile(self._loaded.file, shape)
            if len(self._runs) == KEPT_SHAPES:
                self._runs.popitem(last=False)[1].close()
            try:
                self._runs[shape] = Run(self._loaded, shape, profile)
            except UserError:
                if not self._runs:
                    raise
                _close_all(self._runs)  # too little memory, most likely, for one shape more
                self._runs[shape] = Run(self._loaded, shape, profile)
        return self._runs[shape]


def deserialize(
    engine: EngineFile, trt: ModuleType, cuda: Cuda, libraries: Sequence[Path] = ()
) -> Any:
    """The engine as TensorRT holds it, its plugins and those of `libraries` loaded first.

    Raises:
        UserError: TensorRT refuses the engine, or a plugin is missing.
    """
    log = log_of(trt)
    log.errors.clear()
    runtime = _runtime(trt, log)
    if runtime is None:
        raise explain(engine, log.reason(), here_on(trt, cuda))
    load_plugins(
        trt, log, runtime, engine.plugins, libraries, version_compatible=engine.version_compatible
    )
    plan = runtime.deserialize_cuda_engine(engine.path.read_bytes())
    if plan is None:
        raise explain(engine, log.reason(), here_on(trt, cuda))
    return plan


def load_plugins(
    trt: ModuleType,
    log: Any,
    runtime: Any,
    operators: Collection[str],
    libraries: Sequence[Path],
    *,
    version_compatible: bool,
) -> None:
    """Make a runtime ready for an engine: its plugins, and leave to run what it brings.

    Args:
        operators: those that are plugins in the engine.
        libraries: of further plugins.
        version_compatible: whether it brings its own code, which looks in the runtime's registry.

    Raises:
        UserError: a plugin is missing.
    """
    registry = (runtime if version_compatible else trt).get_plugin_registry()
    plugins.load_more(registry, libraries, shared=not version_compatible)
    if OP_TYPE in operators:
        plugins.load(registry)
    if set(operators) - {OP_TYPE}:
        trt.init_libnvinfer_plugins(log, "")
    runtime.engine_host_code_allowed = version_compatible


def _runtime(trt: ModuleType, log: Any) -> Any:
    """A runtime of TensorRT, or None where the log says why there is none."""
    try:
        runtime = trt.Runtime(log)
    except (RuntimeError, TypeError) as error:
        log.errors.append(str(error))
        return None
    if log.errors:
        # TensorRT 10.16 gives one all the same; using or destroying it ends the process.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(runtime))
        return None
    return runtime


def _close_all(runs: OrderedDict[Shape, Run]) -> None:
    while runs:
        runs.popitem()[1].close()
