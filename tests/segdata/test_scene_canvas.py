from __future__ import annotations

import numpy as np
import pytest

from segdata import scene_canvas
from segdata.classes import SCENES
from segdata.scene_canvas import CAR, ROAD, Camera, Canvas, mixed, upright

CAMERA = Camera(height=100, width=200, focal=100.0, centre=100.0, horizon=50.0, eye=1.5)


def test_constants_are_the_classes_of_the_taxonomy() -> None:
    assert [getattr(scene_canvas, name.upper()) for name in SCENES.classes] == list(range(9))


def test_projection_of_a_pinhole_camera() -> None:
    points = np.array([(0.0, 1.5, 10.0), (2.0, 0.0, 10.0), (2.0, 0.0, 1e9)])
    np.testing.assert_allclose(CAMERA.project(points), [(100, 50), (120, 65), (100, 50)], atol=1e-5)
    assert CAMERA.pixels(2.0, 10.0) == 20.0


def test_filling_draws_picture_and_label_alike() -> None:
    canvas = Canvas(CAMERA, haze=(200, 200, 200), visibility=1e9)
    square = upright(0.0, 10.0, [(-2, 0.5), (2, 0.5), (2, 2.5), (-2, 2.5)])  # 40 x 20 pixels
    canvas.fill([square], [(10, 250, 30)], CAR)
    assert 40 * 20 <= (canvas.label == CAR).sum() <= 41 * 21
    assert (canvas.image[45:55, 85:115] == (10, 250, 30)).all()
    canvas.fill([square], [(1, 2, 3)], None)
    assert (canvas.label[50, 90], *canvas.image[50, 90]) == (CAR, 1, 2, 3)


def test_later_discs_cover_earlier_ones() -> None:
    canvas = Canvas(CAMERA, haze=(0, 0, 0), visibility=1e9)
    centre = np.array([(0.0, 1.5, 10.0)] * 2)
    canvas.discs(centre, np.array([2.0, 1.0]), [(255, 0, 0), (0, 255, 0)], ROAD)
    assert canvas.image[50, 100].tolist() == [0, 255, 0]
    assert canvas.image[50, 115].tolist() == [255, 0, 0]
    assert (canvas.label == ROAD).sum() == pytest.approx(np.pi * 20**2, rel=0.06)


def test_distance_fades_into_the_haze() -> None:
    canvas = Canvas(CAMERA, haze=(200, 210, 220), visibility=100.0)
    near, far = canvas.colour((10, 10, 10), 1.0), canvas.colour((10, 10, 10), 1000.0)
    assert near == (12, 12, 12)
    assert far == (200, 210, 220)
    assert canvas.colour((200, 0, 0), 0.0, light=9.0) == (255, 0, 0)


def test_mixed() -> None:
    assert mixed((0, 100, 200), (100, 100, 0), 0.25) == (25, 100, 150)
