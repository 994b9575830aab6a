"""CUDA through pycuda, which has no graphs."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from runtime.backends.cuda.memory import CudaError, start_error, too_little

T = TypeVar("T")


class PyCuda:
    """See `Cuda`."""

    name = "pycuda"
    can_capture = False

    def __init__(self) -> None:
        """Raises ModuleNotFoundError without the package, UserError without driver or GPU."""
        try:
            self._api: Any = import_module("pycuda.driver")
        except ModuleNotFoundError:
            raise
        except ImportError as error:  # it is linked to the driver's library
            raise start_error(str(error)) from error
        try:
            self._api.init()
            # The context that the CUDA runtime, and with it TensorRT, uses; left on exit.
            device = import_module("pycuda.autoprimaryctx").device
        except (self._api.Error, RuntimeError) as error:
            raise start_error(str(error)) from error
        self.device = str(device.name())
        self.compute_capability = ".".join(map(str, device.compute_capability()))
        self.bus_id = str(device.pci_bus_id())
        self._owned: dict[int, Any] = {}  # what the integers that we hand out stand for

    def memory(self) -> tuple[int, int]:
        """See `Cuda.memory`."""
        free, total = self._call(self._api.mem_get_info)
        return free, total

    def allocate(self, size: int) -> int:
        """See `Cuda.allocate`."""
        try:
            memory = self._api.mem_alloc(size)
        except self._api.MemoryError as error:
            raise CudaError(too_little(size, *self.memory())) from error
        except self._api.Error as error:
            raise CudaError(f"CUDA on {self.device}: {error}") from error
        return self._keep(int(memory), memory)

    def free(self, address: int) -> None:
        """See `Cuda.free`."""
        self._call(self._owned.pop(address).free)

    def allocate_pinned(self, size: int) -> NDArray[np.uint8]:
        """See `Cuda.allocate_pinned`."""
        array: NDArray[np.uint8] = self._call(
            lambda: self._api.pagelocked_empty(size, np.dtype(np.uint8))
        )
        return array

    def free_pinned(self, array: NDArray[np.uint8]) -> None:
        """See `Cuda.free_pinned`."""
        memory: Any = array.base
        self._call(memory.free)

    def upload(self, address: int, array: NDArray[np.uint8], stream: int) -> None:
        """See `Cuda.upload`."""
        queue = self._owned[stream]
        self._call(lambda: self._api.memcpy_htod_async(address, array, queue))

    def download(self, array: NDArray[np.uint8], address: int, stream: int) -> None:
        """See `Cuda.download`."""
        queue = self._owned[stream]
        self._call(lambda: self._api.memcpy_dtoh_async(array, address, queue))

    def create_stream(self) -> int:
        """See `Cuda.create_stream`."""
        stream = self._call(self._api.Stream)
        return self._keep(int(stream.handle), stream)

    def synchronize(self, stream: int) -> None:
        """See `Cuda.synchronize`."""
        self._call(self._owned[stream].synchronize)

    def destroy_stream(self, stream: int) -> None:
        """See `Cuda.destroy_stream`."""
        del self._owned[stream]

    def create_event(self) -> int:
        """See `Cuda.create_event`."""
        event = self._call(self._api.Event)
        return self._keep(id(event), event)

    def record(self, event: int, stream: int) -> None:
        """See `Cuda.record`."""
        self._call(lambda: self._owned[event].record(self._owned[stream]))

    def hold(self, stream: int, event: int) -> None:
        """See `Cuda.hold`."""
        self._call(lambda: self._owned[stream].wait_for_event(self._owned[event]))

    def wait(self, event: int) -> None:
        """See `Cuda.wait`."""
        self._call(self._owned[event].synchronize)

    def elapsed_ms(self, start: int, end: int) -> float:
        """See `Cuda.elapsed_ms`."""
        return float(self._call(lambda: self._owned[start].time_till(self._owned[end])))

    def destroy_event(self, event: int) -> None:
        """See `Cuda.destroy_event`."""
        del self._owned[event]

    def begin_capture(self, stream: int) -> NoReturn:
        """Not to be had: `can_capture` is False."""
        raise CudaError("pycuda has no graphs; pip install cuda-python")

    def end_capture(self, stream: int) -> NoReturn:
        """Not to be had: `can_capture` is False."""
        self.begin_capture(stream)

    def launch(self, graph: int, stream: int) -> NoReturn:
        """Not to be had: `can_capture` is False."""
        self.begin_capture(stream)

    def destroy_graph(self, graph: int) -> NoReturn:
        """Not to be had: `can_capture` is False."""
        self.begin_capture(graph)

    def _keep(self, key: int, value: Any) -> int:
        self._owned[key] = value
        return key

    def _call(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except self._api.Error as error:  # "cuMemAlloc failed: out of memory"
            raise CudaError(f"CUDA on {self.device}: {error}") from error
