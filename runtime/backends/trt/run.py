"""An engine at work on batches of one shape."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emca.errors import UserError
from runtime.backends.base import INPUT_NAME
from runtime.backends.cuda.memory import Cuda, CudaError
from runtime.backends.engine_file import EngineFile
from runtime.backends.trt.checks import Here, explain
from runtime.backends.trt.module import RTX, make_log

Shape = tuple[int, ...]

_TYPES = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}


@dataclass(frozen=True)
class Loaded:
    """What all input shapes share."""

    file: EngineFile
    trt: ModuleType
    cuda: Cuda
    engine: Any
    stream: int
    graphs: bool

    def refusal(self) -> UserError:
        """What TensorRT logged since the last one, in one line for the user."""
        log = log_of(self.trt)
        reason = log.reason()
        log.errors.clear()
        return explain(self.file, reason, here_on(self.trt, self.cuda))


@dataclass(frozen=True)
class _Buffer:
    """A tensor: on the device, and as pinned bytes and an array over them on the host."""

    address: int
    pinned: NDArray[np.uint8]
    array: NDArray[Any]


class Run:
    """One input shape: its own context, buffers and, from the second batch on, graph."""

    def __init__(self, loaded: Loaded, shape: Shape, profile: int) -> None:
        self._loaded = loaded
        self._graph: int | None = None
        self._capture_next = loaded.graphs
        self._config: Any = None  # kept as long as the context, which may refer to it
        self.context = self._make_context(shape, profile)
        with ExitStack() as stack:
            self._buffers = self._allocate(stack)
            self._cleanup = stack.pop_all()
        self._input = self._buffers.pop(INPUT_NAME)

    def infer(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """The outputs of a contiguous batch of this shape."""
        self.fill(images)
        self._run()
        results = self.results()
        # What TensorRT does once per shape is done by now and does not get into the graph.
        if self._capture_next:
            self._capture_next = False
            self._capture()
        return results

    def _run(self) -> None:
        """Queue the work and wait for it; CudaError names the engine."""
        cuda, stream = self._loaded.cuda, self._loaded.stream
        try:
            if self._graph is None:
                self._queue()
            else:
                cuda.launch(self._graph, stream)
            cuda.synchronize(stream)
        except CudaError as error:
            again = "run the command again, and build the engine again if it stays so"
            raise CudaError(f"{self._loaded.file.path}: {error}; {again}") from error

    def fill(self, images: NDArray[np.uint8]) -> None:
        """Put a batch where `upload` takes it from."""
        self._input.array[:] = images

    def results(self) -> dict[str, NDArray[Any]]:
        """What `download` brought, owned by the caller."""
        return {name: buffer.array.copy() for name, buffer in self._buffers.items()}

    def upload(self, stream: int) -> None:
        """Queue the copy of the input."""
        self._loaded.cuda.upload(self._input.address, self._input.pinned, stream)

    def execute(self, stream: int) -> None:
        """Queue the layers."""
        if not self.context.execute_async_v3(stream):
            raise self._loaded.refusal()

    def download(self, stream: int) -> None:
        """Queue the copies of the outputs."""
        for buffer in self._buffers.values():
            self._loaded.cuda.download(buffer.pinned, buffer.address, stream)

    def close(self) -> None:
        """Give back the memory and the graph."""
        self._cleanup.close()
        self.context = self._config = None

    def _make_context(self, shape: Shape, profile: int) -> Any:
        loaded = self._loaded
        if loaded.file.backend == RTX:
            # Kernels for this very shape at once, instead of general ones until they are ready.
            self._config = config = loaded.engine.create_runtime_config()
            strategies = loaded.trt.DynamicShapesKernelSpecializationStrategy
            config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
            context = loaded.engine.create_execution_context(config)
        else:
            context = loaded.engine.create_execution_context()
        if context is None:
            raise loaded.refusal()
        set_shape(loaded, context, shape, profile)
        return context

    def _allocate(self, stack: ExitStack) -> dict[str, _Buffer]:
        """A buffer for every input and output, bound to the context."""
        engine, cuda = self._loaded.engine, self._loaded.cuda
        buffers = {}
        for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
            shape = tuple(self.context.get_tensor_shape(name))
            kind = np.dtype(_TYPES[engine.get_tensor_dtype(name).name])
            size = math.prod(shape) * kind.itemsize
            address = cuda.allocate(size)
            stack.callback(give_back, cuda.free, address)
            pinned = cuda.allocate_pinned(size)
            stack.callback(give_back, cuda.free_pinned, pinned)
            buffers[name] = _Buffer(address, pinned, pinned.view(kind).reshape(shape))
            if not self.context.set_tensor_address(name, address):
                raise self._loaded.refusal()
        return buffers

    def _queue(self) -> None:
        """Put the copy of the input, the layers and the copies of the outputs into the stream."""
        stream = self._loaded.stream
        self.upload(stream)
        self.execute(stream)
        self.download(stream)

    def _capture(self) -> None:
        """Keep the work as a graph; without one, which is said once, every batch is queued anew."""
        self._graph = capture(self._loaded, self._queue, self._cleanup)


def set_shape(loaded: Loaded, context: Any, shape: Shape, profile: int) -> None:
    """Tell a context the shape of its batches; UserError where TensorRT refuses."""
    try:
        if profile:
            context.set_optimization_profile_async(profile, loaded.stream)
    except RuntimeError as error:  # instead of the False that its documentation promises
        raise loaded.refusal() from error
    known = context.set_input_shape(INPUT_NAME, shape)
    if not known or not context.all_binding_shapes_specified:
        raise loaded.refusal()


def capture(loaded: Loaded, work: Callable[[], None], cleanup: ExitStack) -> int | None:
    """The work that is queued in the stream as a graph; None, said once, where it cannot be one.

    Args:
        cleanup: gives the graph back.
    """
    cuda, stream = loaded.cuda, loaded.stream
    try:
        cuda.begin_capture(stream)
        try:
            work()
        except UserError:
            with suppress(CudaError):
                cuda.destroy_graph(cuda.end_capture(stream))
            raise
        graph = cuda.end_capture(stream)
    except UserError as error:
        say(f"{loaded.file.path} runs without a CUDA graph: {error}")
        return None
    cleanup.callback(give_back, cuda.destroy_graph, graph)
    return graph


def here_on(trt: ModuleType, cuda: Cuda) -> Here:
    """What an engine meets, for messages; after a failure on the GPU its memory is unknown, 0."""
    free = total = 0
    with suppress(CudaError):
        free, total = cuda.memory()
    return Here(str(trt.__version__), cuda.device, cuda.compute_capability, free, total)


@cache
def log_of(trt: ModuleType) -> Any:
    """The one log of a package: TensorRT sends much to the first that it was ever given."""
    return make_log(trt)


@cache
def say(line: str) -> None:
    """Tell the user, once."""
    print(line, file=sys.stderr)


def give_back(function: Callable[[Any], None], what: Any) -> None:
    """Call one of `Cuda`; after a failure on the GPU it fails too, and nothing is left to do."""
    with suppress(CudaError):
        function(what)
