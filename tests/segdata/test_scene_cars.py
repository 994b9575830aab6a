from __future__ import annotations

import numpy as np
import pytest

from segdata.scene_canvas import CAR, Camera, Canvas
from segdata.scene_cars import HEADLIGHT, LENGTH, SALOON, TAIL_LIGHT, WIDTH, draw_car

CAMERA = Camera(height=300, width=600, focal=400.0, centre=300.0, horizon=120.0, eye=1.6)


def car(yaw: float) -> Canvas:
    canvas = Canvas(CAMERA, haze=(0, 0, 0), visibility=1e9)
    draw_car(canvas, np.random.default_rng(0), 0.0, 10.0, 1.0, yaw=yaw)
    return canvas


def has(canvas: Canvas, colour: tuple[float, float, float]) -> bool:
    return bool((canvas.image == np.array(colour, int)).all(axis=2).any())


def test_normals_point_outwards() -> None:
    for face in SALOON:
        assert face.normal @ (face.middle - np.array([0.0, 0.7, 0.0])) > 0


def test_yaw_decides_which_end_is_seen() -> None:
    behind, ahead = car(0.0), car(np.pi)
    assert has(behind, TAIL_LIGHT)
    assert not has(behind, HEADLIGHT)
    assert has(ahead, HEADLIGHT)
    assert not has(ahead, TAIL_LIGHT)


@pytest.mark.parametrize(("yaw", "metres"), [(0.0, WIDTH), (np.pi / 2, LENGTH)])
def test_a_car_has_its_size(yaw: float, metres: float) -> None:
    columns = np.nonzero((car(yaw).label == CAR).any(axis=0))[0]
    nearest = 10.0 - (LENGTH if yaw == 0 else WIDTH) / 2
    assert np.ptp(columns) == pytest.approx(CAMERA.pixels(metres, nearest), rel=0.06)
