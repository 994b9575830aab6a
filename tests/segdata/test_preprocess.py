from __future__ import annotations

import zlib
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from emca.errors import UserError
from segdata.preprocess import (
    MEAN,
    PADDING,
    fit,
    fitted,
    nearest,
    read_image,
    read_label,
    restore,
)


@pytest.mark.parametrize(
    ("source", "size", "expected"),
    [
        ((100, 200), (256, 512), (256, 512)),
        ((100, 100), (256, 512), (256, 256)),
        ((1024, 2048), (512, 512), (256, 512)),
        ((3, 1000), (32, 64), (1, 64)),  # never vanishes
        ((2, 3), (64, 33), (22, 33)),
    ],
)
def test_fitted_keeps_the_aspect(
    source: tuple[int, int], size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert fitted(source, size) == expected


def test_fit_pads_below_with_the_mean(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (60, 120, 3), np.uint8)
    result = fit(image, (128, 128))
    assert tuple(round(m) for m in MEAN) == PADDING == (124, 116, 104)
    assert np.array_equal(result[:64], cv2.resize(image, (128, 64)))
    assert (result[64:] == PADDING).all()


def test_fit_pads_to_the_right(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (120, 60, 3), np.uint8)
    result = fit(image, (60, 90))
    assert np.array_equal(result[:, :30], cv2.resize(image, (30, 60)))
    assert (result[:, 30:] == PADDING).all()


def test_an_image_of_the_right_size_is_left_alone(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (40, 50, 3), np.uint8)
    assert fit(image, (40, 50)) is image


@pytest.mark.parametrize("source", [(37, 53), (53, 37), (64, 64), (360, 480), (20, 200)])
def test_restore_undoes_fit(source: tuple[int, int]) -> None:
    """Labels of large blocks come back; only pixels at block borders may differ."""
    rows, columns = np.indices(source)
    label = (rows * 3 // source[0] * 3 + columns * 3 // source[1]).astype(np.uint8)
    height, width = fitted(source, (128, 128))
    fitted_label = np.full((128, 128), 77, np.uint8)
    fitted_label[:height, :width] = cv2.resize(
        label, (width, height), interpolation=cv2.INTER_NEAREST_EXACT
    )
    result = restore(fitted_label, source)
    assert result.shape == source
    assert (result != 77).all()  # no padding
    assert (result == label).mean() > 0.9


def test_restore_takes_the_nearest_pixel_centre() -> None:
    labels = np.arange(25, dtype=np.uint8).reshape(5, 5)
    centres = ((np.arange(8) + 0.5) * 5 / 8).astype(int)
    assert np.array_equal(restore(labels, (8, 8)), labels[np.ix_(centres, centres)])


@pytest.mark.parametrize(("inside", "length"), [(5, 8), (8, 5), (1, 7), (7, 1), (288, 720), (3, 6)])
def test_nearest_is_exact(inside: int, length: int) -> None:
    exact = [(Fraction(2 * i + 1, 2) * inside / length).__floor__() for i in range(length)]
    assert nearest(inside, length).tolist() == exact
    assert min(exact) >= 0
    assert max(exact) < inside


def test_images_are_read_as_rgb_and_labels_as_they_are(tmp_path: Path) -> None:
    red = np.zeros((4, 5, 3), np.uint8)
    red[..., 2] = 250  # OpenCV writes BGR
    cv2.imwrite(str(tmp_path / "red.png"), red)
    assert read_image(tmp_path / "red.png")[0, 0].tolist() == [250, 0, 0]
    label = np.array([[0, 7, 255]], np.uint8)
    cv2.imwrite(str(tmp_path / "label.png"), label)
    cv2.imwrite(str(tmp_path / "grey.png"), cv2.merge([label] * 3))
    assert np.array_equal(read_label(tmp_path / "label.png"), label)
    assert np.array_equal(read_label(str(tmp_path / "grey.png")), label)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.97])
def test_a_cut_off_image_is_refused(
    tmp_path: Path, rng: np.random.Generator, suffix: str, share: float
) -> None:
    path = tmp_path / f"image{suffix}"
    cv2.imwrite(str(path), rng.integers(0, 256, (64, 64, 3), np.uint8))
    read_image(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=rf"image{suffix}: not a readable image, or damaged"):
        read_image(path)


def test_a_jpeg_with_a_film_behind_it_is_whole(tmp_path: Path, rng: np.random.Generator) -> None:
    """As phones write them; what is appended may hold the bytes of any marker."""
    for option in (cv2.IMWRITE_JPEG_PROGRESSIVE, cv2.IMWRITE_JPEG_RST_INTERVAL):
        path = tmp_path / "motion.jpg"
        pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
        cv2.imwrite(str(path), pixels, [option, 1, cv2.IMWRITE_JPEG_QUALITY, 95])
        data, image = path.read_bytes(), read_image(path)
        for film in (b"\xff\xda\xff\xd9\xff\xda\x00", rng.bytes(300_000)):
            path.write_bytes(data + film)
            assert np.array_equal(read_image(path), image)
            path.write_bytes(data[:-2] + b"\xff")
            with pytest.raises(UserError, match="damaged"):
                read_image(path)


def test_more_pixels_than_opencv_takes(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    cv2.imwrite(str(path), np.zeros((2, 2), np.uint8))
    data = bytearray(path.read_bytes())
    data[16:24] = (40_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"large\.png: .* more pixels than OpenCV takes .*cut it"):
        read_image(path)


def test_a_damaged_png_is_refused_in_silence(
    tmp_path: Path, rng: np.random.Generator, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "label.png"
    cv2.imwrite(str(path), rng.integers(0, 9, (64, 64), np.uint8))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"label\.png: not a readable image, or damaged"):
        read_label(path)
    assert capfd.readouterr().err == ""


def test_files_that_are_no_images(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.png: no such file; check the path"):
        read_image(tmp_path / "none.png")
    with pytest.raises(UserError, match="Is a directory; give an image file"):
        read_image(tmp_path)
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(UserError, match=r"text.png: not a readable image.*replace or remove it"):
        read_label(tmp_path / "text.png")


def test_colours_are_no_labels(tmp_path: Path, rng: np.random.Generator) -> None:
    cv2.imwrite(str(tmp_path / "colour.png"), rng.integers(0, 256, (4, 4, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "deep.png"), rng.integers(0, 999, (4, 4), np.uint16))
    for name in ("colour.png", "deep.png"):
        with pytest.raises(UserError, match=f"{name}: holds colours or 16-bit values; save labels"):
            read_label(tmp_path / name)
