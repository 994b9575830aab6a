"""A GPU and a TensorRT made of host memory, for what the code around them decides.

Work that is queued is done when it is waited for, and what is captured is not done at all, so
that a forgotten wait or a graph that is never launched shows in the results. Its clock moves by
what the work would take: COPY_MS for each copy, COMPUTE_MS for the layers.
"""

from __future__ import annotations

import ctypes
import itertools
import json
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends.cuda.memory import CudaError, too_little

Work = Callable[[], None]
COPY_MS, COMPUTE_MS = 0.25, 2.0


class HostGpu:
    """The interface of `Cuda`; `live` holds what was not given back yet."""

    name = "host"
    device = "Tesla T4"
    compute_capability = "7.5"
    bus_id = "0000:3b:00.0"

    def __init__(self, *, can_capture: bool = True, size: int = 10**6) -> None:
        self.can_capture = can_capture
        self.size = size
        self.live: dict[int, Any] = {}
        self.captured: list[Work] | None = None
        self.launches = 0
        self.copies = 0
        self.clock = 1000.0
        self.marked_in: dict[int, int] = {}
        self.keys = itertools.count(1)

    def memory(self) -> tuple[int, int]:
        used = sum(v.nbytes for v in self.live.values() if isinstance(v, np.ndarray))
        return self.size - used, self.size

    def allocate(self, size: int) -> int:
        if size > self.memory()[0]:
            raise CudaError(too_little(size, *self.memory()))
        return self._keep(np.full(size, 0xAB, np.uint8))

    def free(self, address: int) -> None:
        del self.live[address]

    def allocate_pinned(self, size: int) -> NDArray[np.uint8]:
        return self.live[-self._keep(np.zeros(size, np.uint8), sign=-1)]

    def free_pinned(self, array: NDArray[np.uint8]) -> None:
        del self.live[-array.ctypes.data]

    def upload(self, address: int, array: NDArray[np.uint8], stream: int) -> None:
        self.queue(stream, lambda: self._copy(address, array.ctypes.data, array.nbytes))

    def download(self, array: NDArray[np.uint8], address: int, stream: int) -> None:
        self.queue(stream, lambda: self._copy(array.ctypes.data, address, array.nbytes))

    def create_stream(self) -> int:
        return self._keep([])

    def synchronize(self, stream: int) -> None:
        while self.live[stream]:
            self.live[stream].pop(0)()

    def destroy_stream(self, stream: int) -> None:
        del self.live[stream]

    def create_event(self) -> int:
        return self._keep(None)

    def record(self, event: int, stream: int) -> None:
        self.live[event] = None
        self.marked_in[event] = stream
        self.queue(stream, lambda: self._mark(event))

    def hold(self, stream: int, event: int) -> None:
        self.queue(stream, lambda: self.wait(event))

    def wait(self, event: int) -> None:
        while self.live[event] is None:
            self.live[self.marked_in[event]].pop(0)()

    def elapsed_ms(self, start: int, end: int) -> float:
        return self.live[end] - self.live[start]

    def destroy_event(self, event: int) -> None:
        del self.live[event]

    def begin_capture(self, stream: int) -> None:
        assert self.can_capture
        self.captured = []

    def end_capture(self, stream: int) -> int:
        captured, self.captured = self.captured, None
        return self._keep(captured)

    def launch(self, graph: int, stream: int) -> None:
        self.launches += 1
        self.live[stream] += self.live[graph]

    def destroy_graph(self, graph: int) -> None:
        del self.live[graph]

    def queue(self, stream: int, work: Work) -> None:
        (self.live[stream] if self.captured is None else self.captured).append(work)

    def _mark(self, event: int) -> None:
        self.live[event] = self.clock

    def _copy(self, target: int, source: int, size: int) -> None:
        ctypes.memmove(target, source, size)
        self.copies += 1
        self.clock += COPY_MS

    def _keep(self, value: Any, sign: int = 1) -> int:
        """A key for the value: its address where it is memory."""
        key = value.ctypes.data if isinstance(value, np.ndarray) else next(self.keys)
        self.live[sign * key] = value
        return key


class _Context:
    """Labels every pixel with its red value, and sums up each image in `scores`."""

    def __init__(self, owner: HostTensorRt) -> None:
        self.owner = owner
        self.profile = 0
        self.shape: tuple[int, ...] = ()
        self.profiler: Any = None
        self.enqueue_emits_profile = True
        self.untold = 0
        self.addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.profile = profile
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return shape in self.owner.profiles[self.profile]

    @property
    def all_binding_shapes_specified(self) -> bool:
        return bool(self.shape)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return {"image": self.shape, "labels": self.shape[:3], "scores": self.shape[:1]}[name]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        owner = self.owner
        if owner.fails_in_capture and owner.gpu.captured is not None:
            owner.log.log(1, "this layer cannot be captured")
            return False
        owner.executed.append((self.profile, self.shape))
        owner.gpu.queue(stream, self._compute)
        return True

    def report_to_profiler(self) -> bool:
        if self.profiler is None or self.enqueue_emits_profile or self.untold != 1:
            return False
        self.untold = 0
        for name, ms in (("conv", 1.5), ("argmax", 0.25), ("argmax", 0.25)):
            self.profiler.report_layer_time(name, ms)
        return True

    def _compute(self) -> None:
        self.owner.gpu.clock += COMPUTE_MS
        self.untold += self.profiler is not None
        image = self._array("image", np.uint8)
        self._array("labels", np.uint8)[:] = image[..., 0]
        self._array("scores", np.float16)[:] = image[:, 0, 0, 1] / 4

    def _array(self, name: str, kind: Any) -> NDArray[Any]:
        shape = self.get_tensor_shape(name)
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        raw = (ctypes.c_uint8 * size).from_address(self.addresses[name])
        return np.frombuffer(raw, kind).reshape(shape)


class _Inspector:
    execution_context: Any = None

    def __init__(self, version: str) -> None:
        self.version = version

    def get_engine_information(self, format_: str) -> str:
        shape = "x".join(map(str, self.execution_context.shape))
        if format_ == "oneline":
            return f"conv, image:{shape}\nargmax\n"
        bindings = "Bindings" if self.version.startswith("10.") else "I/O Tensors"
        return json.dumps({"Layers": [{"Name": "conv", "Shape": shape}], bindings: ["image"]})


class _Profiler:
    def __init__(self) -> None:
        pass


class _Logger:
    Severity = SimpleNamespace(ERROR=1, WARNING=2)

    def __init__(self) -> None:
        pass


class HostTensorRt(ModuleType):
    """The names of `tensorrt` that the backend uses.

    Attributes:
        does_not_start: what it logs instead of making a runtime; empty: it makes one.
        says: what it logs instead of reading an engine; empty: it reads it.
        fails_in_capture: whether a layer refuses to be captured.
        executed: profile and shape of each execution that was queued or captured.
        allowed: whether the code that engines bring may run.
    """

    ILogger = _Logger
    IProfiler = _Profiler
    LayerInformationFormat = SimpleNamespace(JSON="json", ONELINE="oneline")
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user managed")
    num_io_tensors = 3

    def __init__(self, gpu: HostGpu, profiles: Any, version: str = "10.3.0") -> None:
        super().__init__("tensorrt")
        self.__version__ = version
        self.gpu, self.profiles = gpu, profiles
        self.says = self.does_not_start = ""
        self.fails_in_capture = self.allowed = False
        self.executed: list[tuple[int, tuple[int, ...]]] = []
        self.log: Any = None
        self.contexts = 0
        self.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")
        self.config = SimpleNamespace()

    def Runtime(self, log: Any) -> Any:
        self.log = log
        if self.does_not_start:
            log.log(1, self.does_not_start)
        return self

    @property
    def engine_host_code_allowed(self) -> bool:
        return self.allowed

    @engine_host_code_allowed.setter
    def engine_host_code_allowed(self, value: bool) -> None:
        self.allowed = value

    def get_plugin_registry(self) -> Any:
        return SimpleNamespace(all_creators=[])

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        assert not self.does_not_start
        if self.says:
            self.log.log(1, self.says)
            return None
        return self

    def create_runtime_config(self) -> Any:
        return self.config

    def create_execution_context(self, config: Any = None) -> _Context:
        self.contexts += 1
        return _Context(self)

    def create_engine_inspector(self) -> _Inspector:
        return _Inspector(self.__version__)

    def get_tensor_name(self, index: int) -> str:
        return ("scores", "image", "labels")[index]

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name="HALF" if name == "scores" else "UINT8")
