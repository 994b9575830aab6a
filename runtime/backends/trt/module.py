"""TensorRT and TensorRT-RTX: one interface under two package names."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from emca.errors import UserError

RTX = "tensorrt-rtx"
# The Python package behind each backend.
NAMES = {"tensorrt": "tensorrt", RTX: "tensorrt_rtx"}
INSTALL = {
    "tensorrt": 'pip install "tensorrt<11" (on a Jetson: sudo apt install python3-libnvinfer)',
    RTX: "pip install tensorrt-rtx",
}
# TensorRT-RTX says this at the level of an internal error while it builds engines that are right.
_NOISE = "Thread context has not been set"
OLDEST = {"tensorrt": (10, 3), RTX: (1, 0)}


def module(backend: str) -> ModuleType:
    """The package of a backend.

    Args:
        backend: "tensorrt" or "tensorrt-rtx".

    Raises:
        UserError: it is not installed, cannot be imported, or is too old.
    """
    name = NAMES[backend]
    try:
        trt = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise UserError(_broken(backend, error)) from error
        raise UserError(f"{backend} is not installed; {INSTALL[backend]}") from None
    except Exception as error:  # a missing library is an OSError, ImportError or RuntimeError
        raise UserError(_broken(backend, error)) from error
    if not hasattr(trt, "Builder"):  # a folder of this name on the path imports as nothing
        raise UserError(f"{backend} is not installed; {INSTALL[backend]}")
    if version(trt) < OLDEST[backend]:
        oldest = ".".join(map(str, OLDEST[backend]))
        raise UserError(
            f"{backend} is {trt.__version__} but {oldest} or newer is needed; {INSTALL[backend]}"
        )
    return trt


def version(trt: ModuleType) -> tuple[int, int]:
    """Major and minor version of a package from `module`."""
    major, minor = str(trt.__version__).split(".")[:2]
    return int(major), int(minor)


def make_log(trt: ModuleType, tell: Callable[[str], None] | None = None) -> Any:
    """An ILogger of this package that keeps what went wrong.

    Args:
        tell: called with every message of whatever level, as it comes.

    Returns:
        An ILogger with `errors`, a list of text, oldest first, `reason()`: the errors in one
        line, or "no reason given", and `tell`, which may be replaced.
    """
    severity = trt.ILogger.Severity

    class Log(trt.ILogger):  # type: ignore[name-defined,misc]  # a class of the module at hand
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.tell = tell

        def log(self, level: Any, message: str) -> None:
            if level <= severity.ERROR and not message.startswith(_NOISE):
                self.errors.append(message)
            if self.tell:
                self.tell(message)

        def reason(self) -> str:
            lines = dict.fromkeys(" ".join(text.split()) for text in self.errors)
            return "; ".join(lines) or "no reason given"

    return Log()


def _broken(backend: str, error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"{backend} is installed but cannot be imported ({reason}); {INSTALL[backend]}"
