from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from emca.errors import UserError
from segdata.classes import ADE20K, CAMVID, CITYSCAPES, CITYSCAPES_LABEL_TO_TRAIN, generated_palette
from segdata.datasets import open_dataset
from segdata.preprocess import read_label


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), values)


def picture(size: tuple[int, int] = (12, 16)) -> np.ndarray:
    return np.full((*size, 3), 99, np.uint8)


@pytest.fixture
def ade20k(tmp_path: Path) -> Path:
    root = tmp_path / "ADEChallengeData2016"
    for split in ("training", "validation"):
        label = np.arange(192, dtype=np.uint8).reshape(12, 16) % 151
        write(root / "images" / split / f"{split}_1.jpg", picture())
        write(root / "annotations" / split / f"{split}_1.png", label)
    return root


# --- the layouts


@pytest.mark.parametrize("split", ["val", "validation", None])
def test_ade20k_shifts_ids_and_ignores_zero(ade20k: Path, split: str | None) -> None:
    for path in (ade20k, ade20k.parent):
        dataset = open_dataset(f"ade20k:{path}" + (f":{split}" if split else ""))
        assert dataset.names == ["images/validation/validation_1.jpg"]
        assert dataset.taxonomy is ADE20K
        label = dataset[0].label
        assert label is not None
        assert label.ravel()[:152].tolist() == [255, *range(150), 255]


def test_ade20k_training_split(ade20k: Path) -> None:
    for split in ("train", "training"):
        assert open_dataset(f"ade20k:{ade20k}:{split}").names == ["images/training/training_1.jpg"]


def test_cityscapes_maps_label_ids(tmp_path: Path) -> None:
    label = np.arange(34, dtype=np.uint8)[None].repeat(3, 0)
    write(tmp_path / "leftImg8bit/train/ulm/ulm_0_1_leftImg8bit.png", picture((3, 34)))
    write(tmp_path / "gtFine/train/ulm/ulm_0_1_gtFine_labelIds.png", label)
    dataset = open_dataset(f"cityscapes:{tmp_path}:train")
    sample = dataset[0]
    assert sample.name == "leftImg8bit/train/ulm/ulm_0_1_leftImg8bit.png"
    assert sample.label is not None
    assert np.array_equal(sample.label, CITYSCAPES_LABEL_TO_TRAIN[label])
    assert dataset.taxonomy is CITYSCAPES


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_camvid_ignores_its_void(tmp_path: Path, suffix: str) -> None:
    label = np.arange(12, dtype=np.uint8)[None].repeat(2, 0)
    write(tmp_path / f"train/a.{suffix}", picture((2, 12)))
    write(tmp_path / "trainannot/a.png", label)
    dataset = open_dataset(f"camvid:{tmp_path}:train")
    assert dataset.names == [f"train/a.{suffix}"]
    assert dataset.taxonomy is CAMVID
    sample = dataset[0]
    assert sample.label is not None
    assert sample.label[0].tolist() == [*range(11), 255]


def test_plain_folder(plain_folder: Path) -> None:
    dataset = open_dataset(f"folder:{plain_folder}")
    assert dataset.names == ["images/a.jpg", "images/b.jpg", "images/c.jpg"]
    assert dataset.taxonomy.classes == ("sky", "big road", "car")
    given, generated = (10, 20, 30), generated_palette(3)
    assert dataset.taxonomy.palette == (generated[0], given, generated[2])
    sample = dataset[2]
    assert sample.label is not None
    assert sample.label.shape == sample.image.shape[:2] == (16, 24)
    assert np.array_equal(sample.label, read_label(plain_folder / "labels/c.png"))


def test_plain_folder_with_splits(plain_folder: Path) -> None:
    for kind in ("images", "labels"):
        whole = plain_folder / kind
        whole.rename(plain_folder / "flat")
        whole.mkdir()
        (plain_folder / "flat").rename(whole / "val")
    for spec in (f"folder:{plain_folder}", f"folder:{plain_folder}:val"):
        assert open_dataset(spec).names == [f"images/val/{k}.jpg" for k in "abc"]
    with pytest.raises(UserError, match=r"images/train is not a folder; .*images holds val: name"):
        open_dataset(f"folder:{plain_folder}:train")
    (plain_folder / "images/val").rename(plain_folder / "images/night")
    with pytest.raises(UserError, match=r"images/val is not a folder; .*images holds night: name"):
        open_dataset(f"folder:{plain_folder}")


def test_without_labels_images_are_enough(plain_folder: Path) -> None:
    shutil.rmtree(plain_folder / "labels")
    (plain_folder / "classes.txt").unlink()
    dataset = open_dataset(f"folder:{plain_folder}", labels=False)
    assert dataset[0].label is None
    assert len(dataset) == 3
    bare = open_dataset(f"folder:{plain_folder / 'images'}", labels=False)
    assert bare.names == ["a.jpg", "b.jpg", "c.jpg"]


# --- real images


def test_real_camvid(shared: Path) -> None:
    dataset = open_dataset(f"camvid:{shared / 'camvid'}")
    assert len(dataset) == 101
    assert len(open_dataset(f"camvid:{shared / 'camvid'}:train")) == 367
    sample = dataset[0]
    assert sample.label is not None
    assert sample.image.shape == (360, 480, 3)
    road = sample.image[sample.label == CAMVID.classes.index("road")]
    sky = sample.image[sample.label == CAMVID.classes.index("sky")]
    assert sky.mean() > road.mean() + 50


def test_real_ade20k(shared: Path) -> None:
    dataset = open_dataset(f"ade20k:{shared / 'ade20k_sample'}")
    assert len(dataset) == 3
    expected = ({"sky", "building", "grass"}, {"sky", "building", "tree"}, {"car", "bus", "road"})
    for k, classes in enumerate(expected):
        label = dataset[k].label
        assert label is not None
        assert classes <= {ADE20K.classes[c] for c in np.unique(label) if c != 255}


def test_real_cityscapes_reads_what_has_a_label_and_says_so(
    shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = f"cityscapes:{shared / 'cityscapes_sample'}"
    with caplog.at_level(logging.WARNING):
        dataset = open_dataset(spec)
    assert "2 of 3 images are left out" in caplog.text
    assert len(open_dataset(spec, labels=False)) == 3
    (sample,) = (dataset[k] for k in range(len(dataset)))
    colours = cv2.imread(
        str(next((shared / "cityscapes_sample").rglob("*_gtFine_color.png"))), cv2.IMREAD_COLOR
    )
    assert sample.label is not None
    assert colours is not None
    drawn = np.array([*CITYSCAPES.palette, (0, 0, 0)])[np.minimum(sample.label, 19)]
    evaluated = sample.label != 255
    assert evaluated.mean() > 0.8
    assert np.array_equal(drawn[evaluated], colours[..., ::-1][evaluated])


# --- what users get wrong


@pytest.mark.parametrize("name", ["ade20k", "cityscapes", "camvid", "folder"])
def test_a_missing_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere is not a folder; check the path"):
        open_dataset(f"{name}:{tmp_path / 'nowhere'}")
    with pytest.raises(UserError, match="PATH is not a folder; check the path"):
        open_dataset(f"{name}:")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ade20k", "images is not a folder; check the path"),
        ("cityscapes", "leftImg8bit is not a folder; check the path"),
        ("camvid", "val is not a folder; .* holds no folders"),
        ("folder", "images is not a folder; put the images there"),
    ],
)
def test_a_folder_of_another_layout(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        open_dataset(f"{name}:{tmp_path}")


def test_an_empty_folder(plain_folder: Path) -> None:
    shutil.rmtree(plain_folder / "images")
    (plain_folder / "images").mkdir()
    (plain_folder / "images" / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match=r"no images in .*images; give a folder that holds some"):
        open_dataset(f"folder:{plain_folder}")


def test_an_unknown_split_is_answered_with_those_there(ade20k: Path) -> None:
    message = r'\(did you mean "training"\?\); .* holds training, validation: name one of them'
    with pytest.raises(UserError, match=message):
        open_dataset(f"ade20k:{ade20k}:trainin")


def test_an_image_without_label(plain_folder: Path) -> None:
    (plain_folder / "labels" / "b.png").unlink()
    message = r"images/b\.jpg has no label: .*labels/b\.png is missing; add it or remove the image"
    with pytest.raises(UserError, match=message):
        open_dataset(f"folder:{plain_folder}")
    assert len(open_dataset(f"folder:{plain_folder}", labels=False)) == 3


def test_cityscapes_without_any_label(tmp_path: Path) -> None:
    write(tmp_path / "leftImg8bit/val/ulm/ulm_0_1_leftImg8bit.png", picture())
    with pytest.raises(UserError, match=r"ulm_0_1_leftImg8bit\.png has no label: .*is missing"):
        open_dataset(f"cityscapes:{tmp_path}")


def test_a_label_of_another_size(plain_folder: Path) -> None:
    write(plain_folder / "labels" / "b.png", np.zeros((20, 31), np.uint8))
    dataset = open_dataset(f"folder:{plain_folder}")
    assert dataset[0].label is not None
    message = r"b\.png: label is 31x20 but its image is 30x20 \(width x height\); make both"
    with pytest.raises(UserError, match=message):
        dataset[1]


@pytest.mark.parametrize("wrong", [3, 254])
def test_a_label_with_unknown_ids(plain_folder: Path, wrong: int) -> None:
    label = np.zeros((20, 30), np.uint8)
    label[5, 5] = wrong
    write(plain_folder / "labels" / "b.png", label)
    message = rf"b\.png: holds id {wrong}, which folder does not have; its ids are 0 to 2 and 255"
    with pytest.raises(UserError, match=message):
        open_dataset(f"folder:{plain_folder}")[1]


def test_a_corrupt_image(plain_folder: Path) -> None:
    path = plain_folder / "images" / "b.jpg"
    path.write_bytes(path.read_bytes()[:200])
    dataset = open_dataset(f"folder:{plain_folder}")
    with pytest.raises(UserError, match=r"b\.jpg: not a readable image, or damaged; replace"):
        dataset[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"classes\.txt is missing; write one class name a line, in the order of ids"),
        ("\n\n", r"classes\.txt: 0 classes; write 1 to 254, one a line"),
        ("road\nsky\nroad\n", r"classes\.txt: class 'road' stands twice; remove one"),
        ("road 1 2 256\n", r"classes\.txt: colour in 'road 1 2 256' is out of range; use values"),
        ("\n".join(f"class {k}" for k in range(255)), r"255 classes; write 1 to 254"),
    ],
)
def test_a_wrong_class_list(plain_folder: Path, text: str | None, message: str) -> None:
    path = plain_folder / "classes.txt"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(UserError, match=message):
        open_dataset(f"folder:{plain_folder}")


def test_every_message_is_one_line(plain_folder: Path) -> None:
    (plain_folder / "labels" / "b.png").unlink()
    with pytest.raises(UserError) as caught:
        open_dataset(f"folder:{plain_folder}")
    assert not re.search(r"\n", str(caught.value))
