"""Finds libemca_plugin.so, the TensorRT plugin of PrototypeAttention, and loads it."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from emca.errors import UserError
from plugins.names import OP_TYPE, PLUGIN_NAMESPACE, PLUGIN_VERSION

FILE_NAME = "libemca_plugin.so"
ENVIRONMENT = "EMCA_PLUGIN"

_PACKAGE = Path(__file__).resolve().parent
_BUILD = "make plugin"
_ENTRIES = ("getCreators", "getPluginCreators")  # the second is that of older libraries
# What `load_more` put into the registries of the process: TensorRT's or TensorRT-RTX's, a library.
_shared: set[tuple[str, Path]] = set()


def find() -> Path | None:
    """The library that the environment names, or the first of: build/plugins/ of this checkout,
    beside this package, the folders of LD_LIBRARY_PATH, /usr/local/lib, /usr/lib.

    Raises:
        UserError: EMCA_PLUGIN names no file.
    """
    if named := os.environ.get(ENVIRONMENT):
        if not Path(named).is_file():
            raise UserError(f"{ENVIRONMENT}={named} is no file; name {FILE_NAME} or unset it")
        return Path(named).resolve()
    return next((path for folder in _folders() if (path := folder / FILE_NAME).is_file()), None)


def load(registry: Any) -> None:
    """Make PrototypeAttention known to TensorRT; a registry that has it already stays as it is.

    Load it before a network with the plugin is parsed and before an engine with it is read.

    Args:
        registry: `get_plugin_registry()` of tensorrt or tensorrt_rtx.

    Raises:
        UserError: no library is there, it cannot be loaded, or it holds another version.
    """
    if PLUGIN_VERSION in _registered(registry):
        return
    path = find()
    if path is None:
        raise UserError(
            f"{FILE_NAME}, the TensorRT plugin, is missing; build it with {_BUILD} or name it with "
            f"{ENVIRONMENT}=/path/to/{FILE_NAME}"
        )
    _check(path)
    handle = registry.load_library(str(path))
    versions = _registered(registry)
    if PLUGIN_VERSION in versions:
        return
    if handle is None:
        raise UserError(f"{path} was refused by TensorRT; build it again with {_BUILD}")
    found = f"version {', '.join(versions)}" if versions else "no version"
    raise UserError(
        f"{path} has {found} of {OP_TYPE} and version {PLUGIN_VERSION} is needed; build it again "
        f"with {_BUILD}"
    )


def load_more(registry: Any, libraries: Iterable[Path], *, shared: bool) -> None:
    """Load plugin libraries of whatever operators.

    Args:
        registry: as for `load`, or that of a builder or runtime.
        shared: whether it is the one of the whole process, which refuses what it holds already.

    Raises:
        UserError: one is missing, cannot be loaded, or is refused.
    """
    for path in libraries:
        if not path.is_file():
            raise UserError(f"{path}: no such plugin library; check the path")
        key = (type(registry).__module__, path.resolve())
        if shared and key in _shared:
            continue
        _check(path)
        if registry.load_library(str(path.resolve())) is None:
            raise UserError(f"{path} was refused by TensorRT; its log says why with --verbose")
        if shared:
            _shared.add(key)


def _folders() -> Iterator[Path]:
    yield _PACKAGE.parent / "build" / "plugins"
    yield _PACKAGE
    yield from map(Path, filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)))
    yield Path("/usr/local/lib")
    yield Path("/usr/lib")


def _registered(registry: Any) -> list[str]:
    # get_creator would log an error where the plugin is not there.
    return [
        creator.plugin_version
        for creator in registry.all_creators
        if (creator.name, creator.plugin_namespace) == (OP_TYPE, PLUGIN_NAMESPACE)
    ]


def _check(path: Path) -> None:
    """TensorRT's answer to a library that it cannot load is None; the linker gives the reason."""
    if _is_truncated(path):  # the linker would end the process
        raise UserError(f"{path} is incomplete; build it again with {_BUILD}")
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise UserError(
            f"{path} cannot be loaded ({error}); build it on this machine with {_BUILD}"
        ) from error
    if not any(hasattr(library, entry) for entry in _ENTRIES):
        raise UserError(
            f"{path} is no TensorRT plugin library: it exports neither {' nor '.join(_ENTRIES)}; "
            f"{_BUILD} builds {FILE_NAME}"
        )


def _is_truncated(path: Path) -> bool:
    """Whether a 64-bit little-endian ELF file ends before its table of sections does."""
    with path.open("rb") as file:
        head = file.read(64)
    if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":
        return False  # the linker knows what to say
    (table,) = struct.unpack_from("<Q", head, 40)
    size, count = struct.unpack_from("<HH", head, 58)
    return path.stat().st_size < int(table + size * count)
