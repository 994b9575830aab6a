import fractions
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from emca.errors import UserError
from train.pickles import load_tensors, read_state

ARRAYS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.half": np.asfortranarray(np.arange(6, dtype=np.float16).reshape(2, 3)),
    "a.count": np.array(7, np.int64),
    "a.big_endian": np.array([1.5, -2], ">f4"),
    "a.flags": np.array([True, False]),
}


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def objects():
    array = np.empty(2, object)
    array[:] = [fractions.Fraction(1, 2), 3]
    return array


def check(tensors):
    assert list(tensors) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(tensors[name].numpy(), array)
    assert tensors["a.half"].dtype == torch.float16
    assert tensors["a.big_endian"].dtype == torch.float32


@pytest.mark.parametrize("name", ["model_final.pkl", "model_final.pth"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_the_model_zoo_at_every_protocol(tmp_path, protocol, name):
    path = tmp_path / name
    tree = {"model": OrderedDict(ARRAYS), "__author__": "somebody", "iteration": np.float64(3.5)}
    path.write_bytes(pickle.dumps(tree, protocol))
    read, tensors = read_state(path)
    assert (read["__author__"], read["iteration"]) == ("somebody", 3.5)
    check(tensors)


def test_arrays_that_python_2_and_an_old_numpy_wrote(tmp_path):
    text = pickle.dumps({"model": ARRAYS}, 2)
    assert b"numpy._core.multiarray" in text
    # Python 2 wrote an array's bytes as a string; Python 3 encodes them by a call.
    raw = pickle.dumps({"model": {"a": ARRAYS["a.weight"]}}, 0).replace(b"_core", b"core")
    path = tmp_path / "model_final.pkl"
    path.write_bytes(raw)
    np.testing.assert_array_equal(read_state(path)[1]["a"].numpy(), ARRAYS["a.weight"])
    by_python_2 = (
        b"(dp0\nS'model'\np1\n(dp2\nS'a'\np3\ncnumpy.core.multiarray\n_reconstruct\np4\n"
        b"(cnumpy\nndarray\np5\n(I0\ntp6\nS'b'\np7\ntp8\nRp9\n(I1\n(I2\ntp10\ncnumpy\ndtype\np11\n"
        b"(S'u1'\np12\nI0\nI1\ntp13\nRp14\n(I3\nS'|'\np15\nNNNI-1\nI-1\nI0\ntp16\nbI00\n"
        b"S'\\xff\\x01'\np17\ntp18\nbss."
    )
    path.write_bytes(by_python_2)
    assert read_state(path)[1]["a"].tolist() == [255, 1]


@pytest.mark.parametrize("wrapped", [None, "model", "state_dict", "network"])
@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_wrote(tmp_path, wrapped, zipped):
    state = {f"module.{name}": torch.from_numpy(np.array(a, a.dtype.newbyteorder("=")))
             for name, a in ARRAYS.items()}  # fmt: skip
    tree = {wrapped: state, "epoch": np.int64(3), "best": np.float32(0.5)} if wrapped else state
    path = tmp_path / ("model.pth" if zipped else "model.pkl")
    torch.save(tree, path, _use_new_zipfile_serialization=zipped)
    read, tensors = read_state(path)
    check(tensors)
    if wrapped:
        assert (read["epoch"], read["best"]) == (3, 0.5)


@pytest.mark.parametrize(
    ("held", "named"),
    [
        (Call(os.system, "touch ran"), "posix.system"),
        (Call(eval, "open('ran', 'w')"), r"(builtins\.)?eval"),
        (Call(getattr, "x", "upper"), r"(builtins\.)?getattr"),
        (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        ({"a": objects()}, "object"),
        (fractions.Fraction(1, 2), "fractions.Fraction"),
    ],
    ids=["system", "eval", "getattr", "module", "objects", "fraction"],
)
@pytest.mark.parametrize("name", ["model.pkl", "plain.pth", "model.pth", "legacy.pth"])
def test_anything_else_is_refused_by_its_type_and_not_run(tmp_path, monkeypatch, name, held, named):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    for tree in ({"model": held}, {"model": {"a": np.ones(2)}, "extra": held}):
        if name in ("model.pkl", "plain.pth"):
            path.write_bytes(pickle.dumps(tree))
        else:
            torch.save(tree, path, _use_new_zipfile_serialization=name != "legacy.pth")
        with pytest.raises(UserError, match=rf"{name}' is a pickle that holds .*['(]{named}[')]"):
            read_state(path)
    assert not (tmp_path / "ran").exists()


class ForgedType:
    """A type of objects whose flags deny it: NumPy's own takes the bytes for addresses."""

    def __reduce__(self):
        return np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0)


class ForgedArray:
    def __reduce__(self):
        start = (np.ndarray, (0,), b"b")
        return np._core.multiarray._reconstruct, start, (1, (2,), ForgedType(), False, b"A" * 16)


@pytest.mark.parametrize("name", ["model.pkl", "model.pth"])
def test_a_forged_dtype_reaches_no_memory(tmp_path, name):
    path, tree = tmp_path / name, {"model": {"a": ForgedArray()}}
    path.write_bytes(pickle.dumps(tree)) if path.suffix == ".pkl" else torch.save(tree, path)
    with pytest.raises(UserError, match="holds an array of type 'object', not of numbers"):
        read_state(path)


@pytest.mark.parametrize("name", ["model.pkl", "model.pth"])
def test_damaged_files_and_others_are_one_line(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(UserError, match=f"no checkpoint at '.*{name}'"):
        read_state(path)

    def write(tree):
        path.write_bytes(pickle.dumps(tree)) if path.suffix == ".pkl" else torch.save(tree, path)

    write({"model": {"a": torch.ones(40) if path.suffix == ".pth" else np.ones(40)}})
    whole = path.read_bytes()
    damaged = b"", whole[:10], whole[: len(whole) // 2], whole[:-10], b"\x80\x04N"
    for part in (*damaged, b"just some text\n"):
        path.write_bytes(part)
        with pytest.raises(UserError, match=rf"{name}' is no readable .* copy it again"):
            read_state(path)
    for tree, message in (
        ([1, 2], "holds no state dict but a value of type list"),
        ({}, "holds no tensors"),
        ({"model": {"a": "text"}}, "holds no tensors"),
    ):
        write(tree)
        with pytest.raises(UserError, match=f"{name}' {message}"):
            read_state(path)


def test_an_array_whose_bytes_do_not_fill_it_is_refused(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(
        pickle.dumps({"a": np.ones(3, np.uint8)}, 2).replace(b"K\x03\x85", b"K\x07\x85")
    )
    with pytest.raises(UserError, match=r"model.pkl' is no readable pickle"):
        read_state(path)


def test_load_tensors_gives_the_tree_as_it_is(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"model": {"module.a": torch.ones(2)}, "miou": np.float64(0.25)}, path)
    tree = load_tensors(path)
    assert tree["miou"] == 0.25
    assert torch.equal(tree["model"]["module.a"], torch.ones(2))
