from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest

from emca.errors import UserError
from segdata.datasets import Dataset, open_dataset, parse_spec


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("camvid:../data/camvid:val", ("camvid", "../data/camvid", "val")),
        ("camvid:../data/camvid", ("camvid", "../data/camvid", None)),
        ("camvid:data:", ("camvid", "data", None)),
        ("camvid:C:/data", ("camvid", "C:/data", None)),
        ("camvid:C:\\data\\camvid:train", ("camvid", "C:\\data\\camvid", "train")),
        ("scenes::train", ("scenes", "", "train")),
        ("scenes:n=5,size=64x96:train", ("scenes", "n=5,size=64x96", "train")),
        ("scenes:n=5", ("scenes", "n=5", None)),
        ("scenes", ("scenes", "", None)),
    ],
)
def test_parts_of_a_spec(spec: str, parts: tuple[str, str, str | None]) -> None:
    assert parse_spec(spec) == parts


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown data set 'camvit' \(did you mean \"camvid\"\?\)"):
        open_dataset("camvit:/data")
    with pytest.raises(UserError, match=r"NAME one of ade20k, cityscapes, camvid, folder, scenes"):
        open_dataset("/data/images")


def read_all(dataset: Dataset) -> list[int]:
    return [int(dataset[k].image.sum()) for k in range(len(dataset))]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_datasets_work_in_worker_processes(method: str, plain_folder: Path) -> None:
    for spec in ("scenes:n=2,size=64x96", f"folder:{plain_folder}"):
        dataset = open_dataset(spec)
        assert len(pickle.dumps(dataset)) < 4000
        copy = pickle.loads(pickle.dumps(dataset))
        assert read_all(copy) == read_all(dataset)
        if method in multiprocessing.get_all_start_methods():
            with multiprocessing.get_context(method).Pool(1) as pool:
                assert pool.apply(read_all, (dataset,)) == read_all(dataset)


def test_iterating_ends(plain_folder: Path) -> None:
    for spec in ("scenes:n=2,size=64x96", f"folder:{plain_folder}"):
        dataset = open_dataset(spec)
        samples = list(dataset)  # type: ignore[call-overload]  # by __getitem__ and IndexError
        assert [s.name for s in samples] == dataset.names
        assert dataset.spec == spec
        assert all(s.image.dtype == s.label.dtype == np.uint8 for s in samples)
