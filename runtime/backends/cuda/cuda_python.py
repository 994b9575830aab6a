"""CUDA through cuda-python 12.6.2 or newer."""

from __future__ import annotations

import ctypes
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emca.errors import UserError
from runtime.backends.cuda.memory import NO_DRIVER, CudaError, start_error, too_little

BUS_ID_LENGTH = 20  # "00000000:3b:00.0" and the zero behind it


class CudaPython:
    """See `Cuda`."""

    name = "cuda-python"
    can_capture = True

    def __init__(self) -> None:
        """Raises ModuleNotFoundError without the package, UserError without driver or GPU."""
        self._api: Any = import_module("cuda.bindings.runtime")
        self._success = self._api.cudaError_t.cudaSuccess
        self._check_start()
        self.device = self._call("cudaGetDeviceProperties", 0).name.decode()
        attributes = self._api.cudaDeviceAttr
        major, minor = (
            self._call("cudaDeviceGetAttribute", attribute, 0)
            for attribute in (
                attributes.cudaDevAttrComputeCapabilityMajor,
                attributes.cudaDevAttrComputeCapabilityMinor,
            )
        )
        self.compute_capability = f"{major}.{minor}"
        bus_id = self._call("cudaDeviceGetPCIBusId", BUS_ID_LENGTH, 0)
        self.bus_id = bus_id.partition(b"\0")[0].decode()

    def memory(self) -> tuple[int, int]:
        """See `Cuda.memory`."""
        free, total = self._call("cudaMemGetInfo")
        return free, total

    def allocate(self, size: int) -> int:
        """See `Cuda.allocate`."""
        status, address = self._api.cudaMalloc(size)
        if status == self._api.cudaError_t.cudaErrorMemoryAllocation:
            self._api.cudaGetLastError()  # else TensorRT would take it for an error of its own
            raise CudaError(too_little(size, *self.memory()))
        self._check("cudaMalloc", status)
        return int(address)

    def free(self, address: int) -> None:
        """See `Cuda.free`."""
        self._call("cudaFree", address)

    def allocate_pinned(self, size: int) -> NDArray[np.uint8]:
        """See `Cuda.allocate_pinned`."""
        address = self._call("cudaMallocHost", size)
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(int(address)))

    def free_pinned(self, array: NDArray[np.uint8]) -> None:
        """See `Cuda.free_pinned`."""
        self._call("cudaFreeHost", array.ctypes.data)

    def upload(self, address: int, array: NDArray[np.uint8], stream: int) -> None:
        """See `Cuda.upload`."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, stream)

    def download(self, array: NDArray[np.uint8], address: int, stream: int) -> None:
        """See `Cuda.download`."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, stream)

    def create_stream(self) -> int:
        """See `Cuda.create_stream`."""
        return int(self._call("cudaStreamCreate"))

    def synchronize(self, stream: int) -> None:
        """See `Cuda.synchronize`."""
        self._call("cudaStreamSynchronize", stream)

    def destroy_stream(self, stream: int) -> None:
        """See `Cuda.destroy_stream`."""
        self._call("cudaStreamDestroy", stream)

    def create_event(self) -> int:
        """See `Cuda.create_event`."""
        return int(self._call("cudaEventCreate"))

    def record(self, event: int, stream: int) -> None:
        """See `Cuda.record`."""
        self._call("cudaEventRecord", event, stream)

    def hold(self, stream: int, event: int) -> None:
        """See `Cuda.hold`."""
        self._call("cudaStreamWaitEvent", stream, event, 0)

    def wait(self, event: int) -> None:
        """See `Cuda.wait`."""
        self._call("cudaEventSynchronize", event)

    def elapsed_ms(self, start: int, end: int) -> float:
        """See `Cuda.elapsed_ms`."""
        return float(self._call("cudaEventElapsedTime", start, end))

    def destroy_event(self, event: int) -> None:
        """See `Cuda.destroy_event`."""
        self._call("cudaEventDestroy", event)

    def begin_capture(self, stream: int) -> None:
        """See `Cuda.begin_capture`."""
        mode = self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)

    def end_capture(self, stream: int) -> int:
        """See `Cuda.end_capture`."""
        noted = self._call("cudaStreamEndCapture", stream)
        try:
            return int(self._call("cudaGraphInstantiate", noted, 0))
        finally:
            self._call("cudaGraphDestroy", noted)

    def launch(self, graph: int, stream: int) -> None:
        """See `Cuda.launch`."""
        self._call("cudaGraphLaunch", graph, stream)

    def destroy_graph(self, graph: int) -> None:
        """See `Cuda.destroy_graph`."""
        self._call("cudaGraphExecDestroy", graph)

    def _check_start(self) -> None:
        """UserError unless there is a driver that fits and a GPU."""
        try:
            status, count = self._api.cudaGetDeviceCount()
            if status == self._success and count:
                return
            driver = self._api.cudaDriverGetVersion()[1]
            runtime = self._api.cudaRuntimeGetVersion()[1]
        except RuntimeError as error:  # cuda-python 12 where there is no libcuda.so.1
            raise UserError(NO_DRIVER) from error
        reason = status.name if status != self._success else "cudaErrorNoDevice"
        raise start_error(reason, driver=driver or 0, runtime=runtime or 0)

    def _call(self, function: str, *arguments: Any) -> Any:
        """What the function gives beside its status: nothing, one value, or a tuple of them."""
        status, *values = getattr(self._api, function)(*arguments)
        self._check(function, status)
        return values[0] if len(values) == 1 else tuple(values)

    def _check(self, function: str, status: Any) -> None:
        if status != self._success:
            self._api.cudaGetLastError()
            raise CudaError(f"CUDA on {getattr(self, 'device', 'the GPU')}: {function} failed "
                            f"({status.name})")  # fmt: skip
