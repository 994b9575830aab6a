from __future__ import annotations

import threading
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from emca.errors import UserError
from runtime.media.images import MOST_JPEG, label_images, write_image
from runtime.segment.pipeline import Lanes
from segdata.preprocess import read_image

COUNT = 7


def test_as_many_images_are_at_work_as_there_are_streams(tmp_path):
    together = threading.Barrier(COUNT, timeout=10)

    def label(image):
        together.wait()
        return image[..., 0]

    paths = [tmp_path / f"{index}.png" for index in range(2 * COUNT)]
    for path in paths:
        write_image(path, np.zeros((8, 8, 3), np.uint8))
    with Lanes([label] * COUNT) as lanes:
        segmenter = SimpleNamespace(
            submit=lanes.submit, streams=COUNT, classes=("a",), palette=((9, 9, 9),)
        )
        assert label_images(segmenter, paths, tmp_path / "out") == (2 * COUNT, [])
    assert len(list((tmp_path / "out").iterdir())) == 4 * COUNT


def test_what_is_too_wide_for_a_jpeg_is_scaled_down(tmp_path):
    image = np.full((20, 2 * MOST_JPEG, 3), 99, np.uint8)
    write_image(tmp_path / "wide.jpg", image)
    assert read_image(tmp_path / "wide.jpg").shape == (10, MOST_JPEG, 3)
    write_image(tmp_path / "wide.png", image[..., 0])
    assert cv2.imread(str(tmp_path / "wide.png"), cv2.IMREAD_UNCHANGED).shape == image.shape[:2]


def test_what_cannot_be_encoded_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "imencode", lambda *_: (False, ()))
    with pytest.raises(UserError, match=r"a\.png: OpenCV cannot write an image of 5x4"):
        write_image(tmp_path / "a.png", np.zeros((4, 5), np.uint8))
    assert list(tmp_path.iterdir()) == []
