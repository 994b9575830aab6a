import numpy as np
import pytest

from calibration.ranges.images import calibration_images, held_out_images, spread
from emca.errors import UserError
from runtime.backends.base import ModelFile


@pytest.fixture
def model(file):
    return ModelFile.read(file)


def test_images_are_spread_evenly():
    assert spread(100, 4, "x") == [12, 37, 62, 87]
    assert spread(5, 5, "x") == [0, 1, 2, 3, 4]
    assert spread(3, 1, "x") == [1]


def test_images_are_fitted_and_named(model):
    images = calibration_images(model, "scenes:n=9,size=50x60:train", 3)
    assert [pixels.shape for pixels in images.pixels] == [(96, 128, 3)] * 3
    assert len(set(images.names)) == 3
    assert images.describe() == {
        "data": "scenes:n=9,size=50x60:train",
        "images": images.names,
        "sha256": images.sha256,
    }
    others = calibration_images(model, "scenes:n=9,size=50x60:val", 3)
    assert others.sha256 != images.sha256


@pytest.mark.parametrize(("count", "taken"), [(6, 4), (1, 9), (5, 2)])
def test_what_judges_gave_no_range(model, count, taken):
    data = "scenes:n=10:train"
    ranges = calibration_images(model, data, taken)
    others = held_out_images(model, ranges, count)
    names = [sample.name for sample in others.samples]
    assert len(set(names)) == count
    assert not set(names) & set(ranges.names)
    assert all(sample.label is not None for sample in others.samples)


def test_other_data_may_judge(model):
    ranges = calibration_images(model, "scenes:n=4:train", 4)
    others = held_out_images(model, ranges, 5, eval_data="scenes:n=5:val")
    assert others.data == "scenes:n=5:val"
    assert len(others.samples) == 5


@pytest.mark.parametrize(
    ("available", "count", "message"),
    [
        (4, 2, r"leaves 0 images .* give --eval-data"),
        (6, 3, r"leaves 2 .* 3 are wanted; give --held"),
        (6, 0, r"--held-out is 0"),
    ],
)
def test_too_few_are_named(model, available, count, message):
    ranges = calibration_images(model, f"scenes:n={available}", 4)
    with pytest.raises(UserError, match=message):
        held_out_images(model, ranges, count)


def test_the_same_images_by_another_name_cannot_judge(model):
    ranges = calibration_images(model, "scenes:n=4:train", 4)
    with pytest.raises(UserError, match=r"of 'scenes:n=04:train' gave ranges too"):
        held_out_images(model, ranges, 2, eval_data="scenes:n=04:train")


def test_unlabelled_images_cannot_judge(model, tmp_path):
    import cv2

    (tmp_path / "images").mkdir()
    (tmp_path / "classes.txt").write_text("\n".join(model.card.classes))
    for index in range(3):
        noise = np.random.default_rng(index).integers(0, 256, (20, 30, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{index}.png"), noise)
    data = f"folder:{tmp_path}"
    assert len(calibration_images(model, data, 3).pixels) == 3
    with pytest.raises(UserError, match="label"):
        held_out_images(model, calibration_images(model, data, 1), 1)


def test_images_without_content_are_refused(model, tmp_path):
    import cv2

    (tmp_path / "images").mkdir()
    (tmp_path / "classes.txt").write_text("\n".join(model.card.classes))
    for index in range(2):
        cv2.imwrite(str(tmp_path / "images" / f"{index}.png"), np.full((96, 128, 3), 90 * index))
    with pytest.raises(UserError, match=r"every calibration image of .* is of a single colour"):
        calibration_images(model, f"folder:{tmp_path}", 2)
