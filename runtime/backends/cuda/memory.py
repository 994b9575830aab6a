"""Memory, streams and graphs of a GPU, through cuda-python or pycuda, whichever is installed."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from emca.errors import UserError

INSTALL = 'pip install "cuda-python>=12.6.2"'
VISIBLE = "CUDA_VISIBLE_DEVICES"
CHOSEN = "EMCA_DEVICE"  # tells processes that are started that --device set the former
NO_DRIVER = (
    "no NVIDIA driver is loaded; install it until nvidia-smi lists the GPU, and start containers "
    "with --gpus all (on a Jetson with --runtime nvidia)"
)


class CudaError(UserError):
    """A call to CUDA that failed, in one line."""


class Cuda(Protocol):
    """The GPU at hand: the first that CUDA lists, which CUDA_VISIBLE_DEVICES changes.

    Device memory, streams, events and graphs are integers, as TensorRT takes them. To be used by
    the thread that opened it. Every method raises CudaError where CUDA refuses.

    Attributes:
        name: "cuda-python" or "pycuda".
        device: name of the GPU.
        compute_capability: such as "7.5".
        bus_id: where the GPU is plugged in, such as "0000:3b:00.0"; other tools find it by that.
        can_capture: whether there are graphs; else nothing may be captured or launched.
    """

    name: str
    device: str
    compute_capability: str
    bus_id: str
    can_capture: bool

    def memory(self) -> tuple[int, int]:
        """Free and total bytes of the GPU."""
        ...

    def allocate(self, size: int) -> int:
        """The address of `size` bytes of device memory."""
        ...

    def free(self, address: int) -> None:
        """Give back what `allocate` gave."""
        ...

    def allocate_pinned(self, size: int) -> NDArray[np.uint8]:
        """`size` bytes of host memory that stay in place, so that copies can run on their own."""
        ...

    def free_pinned(self, array: NDArray[np.uint8]) -> None:
        """Give back what `allocate_pinned` gave; no view of it may be used any more."""
        ...

    def upload(self, address: int, array: NDArray[np.uint8], stream: int) -> None:
        """Queue a copy of pinned memory to the device."""
        ...

    def download(self, array: NDArray[np.uint8], address: int, stream: int) -> None:
        """Queue a copy from the device to pinned memory."""
        ...

    def create_stream(self) -> int:
        """A queue of work."""
        ...

    def synchronize(self, stream: int) -> None:
        """Wait until the stream is empty; errors of its work are raised here."""
        ...

    def destroy_stream(self, stream: int) -> None:
        """Give back what `create_stream` gave."""
        ...

    def create_event(self) -> int:
        """A mark in a stream."""
        ...

    def record(self, event: int, stream: int) -> None:
        """Queue the mark."""
        ...

    def hold(self, stream: int, event: int) -> None:
        """Let what is queued from here on wait for a mark in another stream."""
        ...

    def wait(self, event: int) -> None:
        """Wait until the GPU has passed the mark."""
        ...

    def elapsed_ms(self, start: int, end: int) -> float:
        """Milliseconds between two marks that the GPU has passed."""
        ...

    def destroy_event(self, event: int) -> None:
        """Give back what `create_event` gave."""
        ...

    def begin_capture(self, stream: int) -> None:
        """From here on this thread's work for the stream is noted instead of done."""
        ...

    def end_capture(self, stream: int) -> int:
        """The work noted since `begin_capture` as a graph, ready for `launch`."""
        ...

    def launch(self, graph: int, stream: int) -> None:
        """Queue the work of a graph."""
        ...

    def destroy_graph(self, graph: int) -> None:
        """Give back what `end_capture` gave."""
        ...


@cache
def open_cuda() -> Cuda:
    """The GPU through the first package that is installed: cuda-python, then pycuda.

    Raises:
        UserError: neither is installed, or there is no driver or no GPU.
    """
    missing = []
    for name, adapter in ADAPTERS.items():
        try:
            return adapter()
        except ModuleNotFoundError as error:
            missing.append(f"{name}: no module {error.name}")
    raise UserError(f"no package for CUDA can be imported ({'; '.join(missing)}); {INSTALL}")


def choose_gpu(index: int | None) -> None:
    """Let this process, and those that it starts, see one GPU alone; None changes nothing.

    Must come before anything uses CUDA.

    Args:
        index: among the GPUs that CUDA lists, which CUDA_VISIBLE_DEVICES may limit already.

    Raises:
        UserError: there are fewer in that list.
    """
    if index is None:
        return
    visible = os.environ.get(VISIBLE)
    listed = [name for name in (visible or "").split(",") if name]
    if index < 0 or (visible is not None and index >= len(listed)):
        limit = f"; {VISIBLE}={visible} lists {len(listed)}" if visible is not None else ""
        raise UserError(f"--device={index}: there is no such GPU{limit}; GPUs are counted from 0")
    os.environ[VISIBLE] = listed[index] if listed else str(index)
    os.environ[CHOSEN] = str(index)


def gpu_name() -> str:
    """The name of the GPU; empty where none can be used."""
    try:
        return open_cuda().device
    except UserError:
        return ""


def start_error(reason: str, *, driver: int = 0, runtime: int = 0) -> UserError:
    """Why no GPU can be used, and what to do.

    Args:
        reason: CUDA's name for it, or its words.
        driver, runtime: the newest CUDA that the driver knows and the one that the Python package
            is for, as CUDA writes them: 12060 is 12.6, and 0 says that there is none.
    """
    said = reason.lower()
    if "insufficient" in said and driver:
        return UserError(
            f"the NVIDIA driver knows CUDA up to {_version(driver)} but the Python package is for "
            f'{_version(runtime)}; pip install "cuda-python<{driver // 1000 + 1}" or update the '
            "driver"
        )
    if any(words in said for words in ("insufficient", "libcuda", "stub")):
        return UserError(NO_DRIVER)
    if any(words in said for words in ("nodevice", "no cuda-capable", "no cuda enabled")):
        if chosen := os.environ.get(CHOSEN):
            return UserError(
                f"--device={chosen}: CUDA finds no such GPU; nvidia-smi -L lists them, from 0"
            )
        visible = os.environ.get(VISIBLE)
        setting = "" if visible is None else f" ({VISIBLE} is {visible!r})"
        return UserError(f"CUDA finds no GPU{setting}; nvidia-smi must list one")
    return UserError(f"CUDA cannot start ({reason}); nvidia-smi must list the GPU as ready")


def too_little(wanted: int, free: int, total: int, what: str = "") -> str:
    """One line for device memory that is not there; sizes in bytes, 0 for an unknown one."""
    need = f"{_megabytes(wanted)} wanted, " if wanted else ""
    return (
        f"too little GPU memory{what}: {need}{_megabytes(free)} of {_megabytes(total)} free; end "
        "other programs on the GPU or build with a smaller --maxShapes"
    )


def _cuda_python() -> Cuda:
    from runtime.backends.cuda.cuda_python import CudaPython

    return CudaPython()


def _pycuda() -> Cuda:
    from runtime.backends.cuda.py_cuda import PyCuda

    return PyCuda()


ADAPTERS: dict[str, Callable[[], Cuda]] = {"cuda-python": _cuda_python, "pycuda": _pycuda}


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
