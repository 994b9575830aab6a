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
from torch import Tensor

from segdata.errors import UserError

# What rebuilding a NumPy array takes, under the names of old and new releases. A name leads to
# our own table, never to an import.
_ARRAYS = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{
        (f"numpy.{core}.multiarray", name): getattr(np._core.multiarray, name)
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    },
    ("collections", "OrderedDict"): OrderedDict,
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # how Python 2 wrote an array's bytes
            return _latin1
        if (module, name) not in _ARRAYS:
            raise UserError(
                f"a pickle that holds '{module}.{name}'; only arrays and plain containers are read"
            )
        return _ARRAYS[module, name]


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise UserError(f"a pickle with bytes in {encoding!r}, not latin1; it is refused")
    return text.encode("latin1")


def read_state(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The whole content of a checkpoint file, and the state dict in it.

    Args:
        path: a `.pkl` of detectron2, or what `torch.save` wrote.

    Returns:
        The file's tree and its tensors by name, without a common prefix `module.`.

    Raises:
        UserError: missing, damaged, without tensors, or a pickle with anything else in it, whose
            type is named.
    """
    tree = _unpickle(path) if path.suffix == ".pkl" else load_tensors(path)
    state: Any = tree
    for key in ("model", "state_dict", "model_state", "network"):
        if isinstance(tree, Mapping) and isinstance(tree.get(key), Mapping):
            state = tree[key]
            break
    if not isinstance(state, Mapping):
        raise UserError(f"'{path}' holds a {type(tree).__name__}, not a state dict")
    tensors = {str(name): _tensor(value) for name, value in state.items() if _is_array(value)}
    if not tensors:
        raise UserError(f"'{path}' holds no tensors")
    return dict(tree), {name.removeprefix("module."): value for name, value in tensors.items()}


def load_tensors(path: Path) -> Any:
    """`torch.load` of tensors and plain values; nothing in the file is executed.

    Raises:
        UserError: missing, truncated or foreign file, or a pickle with code in it.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint at '{path}'")
    try:
        with (
            warnings.catch_warnings(),
            torch.serialization.safe_globals(list(_numpy_scalars())),
        ):
            warnings.simplefilter("ignore")  # torch comments on pickles that it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make torch raise almost anything
        refused = isinstance(error, pickle.UnpicklingError) and (
            "weights_only" in str(error) or "Unsupported" in str(error)
        )
        kind = re.search(r"(?:GLOBAL|class|function) `?([\w.]+)", str(error)) if refused else None
        raise UserError(
            f"'{path}' is a pickle that holds more than tensors and plain values"
            f"{f' ({kind[1]})' if kind else ''}; refused"
            if refused
            else f"'{path}' is no readable checkpoint: damaged or truncated"
        ) from None


def _unpickle(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"no checkpoint at '{path}'")
    try:
        with path.open("rb") as file:
            return _ArraysOnly(file, encoding="latin1").load()
    except UserError as error:
        raise UserError(f"'{path}' is {error}") from None
    except Exception as error:  # damaged bytes make pickle raise almost anything
        raise UserError(f"'{path}' is no readable pickle: {type(error).__name__}") from None


def _numpy_scalars() -> Mapping[Any, None]:
    """Types of the numbers that training frameworks leave beside the weights."""
    kinds = (np.float64, np.float32, np.int64, np.int32, np.bool_)
    dtypes = [type(np.dtype(kind)) for kind in kinds]
    return dict.fromkeys([np._core.multiarray.scalar, np.dtype, *kinds, *dtypes])


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor) or (
        isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
    )


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
