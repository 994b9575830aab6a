"""State dicts out of files that others pickled, without running anything that the files hold."""

from __future__ import annotations

import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emca.errors import UserError

NUMBERS = "biuf"  # kinds of dtype
LARGEST = 8  # bytes of a number that torch knows too


class _Type:
    """A dtype as NumPy pickles it: made from its name, then told its byte order.

    NumPy's own would also take flags from the file, and a forged object type among them makes it
    follow addresses that the file names.
    """

    def __init__(self, name: str, *_: Any) -> None:
        self.dtype = np.dtype(str(name))
        if self.dtype.kind not in NUMBERS or self.dtype.itemsize > LARGEST:
            raise UserError(f"a pickle that holds an array of type '{self.dtype}', not of numbers")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])

    def read(self, data: bytes | str) -> NDArray[Any]:
        """The numbers in `data`, in this machine's byte order."""
        raw = data.encode("latin1") if isinstance(data, str) else data  # str: of Python 2
        return np.frombuffer(raw, self.dtype).astype(self.dtype.newbyteorder("="))


class _Array:
    """Stands where the file has an ndarray."""

    value: NDArray[Any] = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.value = dtype.read(data).reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _from_buffer(data: bytes, dtype: _Type, shape: tuple[int, ...], order: str, *_: Any) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


def _scalar(dtype: _Type, data: bytes | str) -> Any:
    return dtype.read(data)[0].item()


# What rebuilding a NumPy array takes, under the names of old and new releases. A name leads to
# our own table, never to an import.
_ARRAYS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    **{
        (f"numpy.{core}.{module}", name): ours
        for core in ("core", "_core")
        for module, name, ours in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),  # protocol 5
        )
    },
}
_OTHERS = {("collections", "OrderedDict"): OrderedDict}
# How the files of `torch.save` begin: of now, and of before 1.6.
ZIP = b"PK"
LEGACY = pickle.dumps(torch.serialization.MAGIC_NUMBER, 2)
REMEDY = "save its state_dict() alone"


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # how Python 2 wrote an array's bytes
            return _latin1
        known = _ARRAYS | _OTHERS
        if (module, name) not in known:
            raise UserError(
                f"a pickle that holds '{module}.{name}'; only arrays and plain containers are "
                f"read: {REMEDY}"
            )
        return known[module, name]


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise UserError(f"a pickle with bytes in {encoding!r}, not latin1; it is refused")
    return text.encode("latin1")


def read_state(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The whole content of a checkpoint file, and the state dict in it.

    Args:
        path: a `.pkl` of detectron2, or what `torch.save` wrote; the content tells, not the suffix.

    Returns:
        The file's tree and its tensors by name, without a common prefix `module.`.

    Raises:
        UserError: missing, damaged, without tensors, or a pickle with anything else in it, whose
            type is named.
    """
    tree = load_tensors(path)
    state: Any = tree
    for key in ("model", "state_dict", "model_state", "network"):
        if isinstance(tree, Mapping) and isinstance(tree.get(key), Mapping):
            state = tree[key]
            break
    if not isinstance(state, Mapping):
        raise UserError(f"'{path}' holds no state dict but a value of type {type(tree).__name__}")
    tensors = {str(name): _tensor(value) for name, value in state.items() if _is_array(value)}
    if not tensors:
        raise UserError(f"'{path}' holds no tensors")
    return dict(tree), {name.removeprefix("module."): value for name, value in tensors.items()}


def load_tensors(path: Path) -> Any:
    """A file's tensors, arrays and plain values; nothing in it is executed.

    Raises:
        UserError: missing, truncated or foreign file, or a pickle with code in it.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint at '{path}'")
    with path.open("rb") as file:
        if not file.read(len(LEGACY)).startswith((ZIP, LEGACY)):
            return _unpickle(path)
    try:
        arrays = [(ours, ".".join(name)) for name, ours in _ARRAYS.items()]
        with warnings.catch_warnings(), torch.serialization.safe_globals(arrays):
            warnings.simplefilter("ignore")  # torch comments on pickles that it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except UserError as error:
        raise UserError(f"'{path}' is {error}") from None
    except Exception as error:  # damaged bytes make torch raise almost anything
        refused = isinstance(error, pickle.UnpicklingError) and (
            "weights_only" in str(error) or "Unsupported" in str(error)
        )
        kind = re.search(r"(?:GLOBAL|class|function) `?([\w.]+)", str(error)) if refused else None
        raise UserError(
            f"'{path}' is a pickle that holds more than tensors and plain values"
            f"{f' ({kind[1]})' if kind else ''}; refused: {REMEDY}"
            if refused
            else f"'{path}' is no readable checkpoint: damaged or truncated; copy it again"
        ) from None


def _unpickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _ArraysOnly(file, encoding="latin1").load()
    except UserError as error:
        raise UserError(f"'{path}' is {error}") from None
    except Exception:  # damaged bytes make pickle raise almost anything
        raise UserError(
            f"'{path}' is no readable pickle: damaged, truncated or of another kind; copy it again"
        ) from None


def _is_array(value: Any) -> bool:
    return isinstance(value, (Tensor, _Array))


def _tensor(value: Tensor | _Array) -> Tensor:
    return value if isinstance(value, Tensor) else torch.from_numpy(value.value)
