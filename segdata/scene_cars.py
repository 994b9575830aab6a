"""Cars and vans of the generated street: solids seen from any side."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from segdata.classes import Colour
from segdata.scene_canvas import CAR, CIRCLE, Canvas, Floats, Shade, varied

PAINTS: tuple[Shade, ...] = (
    (150, 24, 28),
    (28, 46, 120),
    (36, 38, 44),
    (196, 200, 206),
    (228, 228, 230),
    (60, 96, 150),
    (120, 124, 130),
    (24, 80, 90),
)
GLASS: Shade = (44, 54, 66)
UNDERSIDE: Shade = (26, 26, 28)
TYRE: Shade = (22, 22, 24)
RIM: Shade = (130, 132, 136)
TAIL_LIGHT: Shade = (190, 24, 28)
HEADLIGHT: Shade = (245, 245, 225)
PLATE: Shade = (225, 222, 190)
GRILLE: Shade = (34, 36, 40)

LENGTH, WIDTH = 4.3, 1.75  # metres
_HALF = WIDTH / 2
_WHEELS_AT = (-1.3, 1.35)
_SILL = ((-2.0, 0.14), (2.0, 0.14), (2.0, 0.36), (-2.0, 0.36))

Outline = tuple[tuple[float, float], ...]


@dataclass
class Face:
    """A flat side of a car and what is painted on it; points are (across, up, along) in metres."""

    points: Floats
    brightness: float
    details: list[tuple[Floats, Shade]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.middle = self.points.mean(axis=0)
        normal = np.cross(self.points[1] - self.points[0], self.points[2] - self.points[1])
        outwards = self.middle - np.array([0.0, 0.7, 0.0])
        self.normal = normal if normal @ outwards > 0 else -normal


def _body(outline: Outline, rear_window: int, windscreen: int, panes: list[Outline]) -> list[Face]:
    """A car from the outline of its side, (along, up) from the tail over the roof to the nose.

    `rear_window` and `windscreen` are the stretches of the outline that are glass.
    """
    faces = []
    for k, ((a0, u0), (a1, u1)) in enumerate(pairwise(outline)):
        face = Face(_panel(a0, u0, a1, u1, _HALF), 0.95 if abs(u1 - u0) > 0.3 else 1.15)
        if k in (rear_window, windscreen):
            face.details.append((_panel(a0, u0, a1, u1, _HALF * 0.86), GLASS))
        faces.append(face)
    faces[0].details += _end(outline[0][0], TAIL_LIGHT, PLATE)
    faces[-1].details += _end(outline[-1][0], HEADLIGHT, GRILLE)
    for side in (-_HALF, _HALF):
        face = Face(_on_side(side, outline), 0.85)
        face.details += [(_on_side(side, pane), GLASS) for pane in panes]
        face.details.append((_on_side(side, _SILL), UNDERSIDE))
        for along in _WHEELS_AT:
            for radius, colour in ((0.34, TYRE), (0.2, RIM)):
                wheel = CIRCLE * radius + np.array([along, 0.34])
                face.details.append((_on_side(side, wheel), colour))
        faces.append(face)
    return faces


def _end(along: float, lights: Shade, middle: Shade) -> list[tuple[Floats, Shade]]:
    """Tyres, lights and number plate or grille of the tail or the nose."""

    def box(left: float, right: float, low: float, high: float) -> Floats:
        return np.array(
            [(x, y, along) for x, y in ((left, low), (right, low), (right, high), (left, high))]
        )

    return [
        (box(-0.8, 0.8, 0.12, 0.37), UNDERSIDE),
        (box(-0.82, -0.6, 0.0, 0.32), TYRE),
        (box(0.6, 0.82, 0.0, 0.32), TYRE),
        (box(-0.84, -0.56, 0.62, 0.8), lights),
        (box(0.56, 0.84, 0.62, 0.8), lights),
        (box(-0.3, 0.3, 0.45, 0.6), middle),
    ]


def _panel(a0: float, u0: float, a1: float, u1: float, reach: float) -> Floats:
    return np.array([(-reach, u0, a0), (reach, u0, a0), (reach, u1, a1), (-reach, u1, a1)])


def _on_side(across: float, outline: Outline | Floats) -> Floats:
    return np.array([(across, up, along) for along, up in outline])


SALOON = _body(
    (
        (-2.1, 0.3),
        (-2.15, 0.85),
        (-1.6, 0.95),
        (-1.0, 1.42),
        (0.3, 1.45),
        (1.0, 0.95),
        (2.0, 0.82),
        (2.1, 0.35),
    ),
    rear_window=2,
    windscreen=4,
    panes=[
        ((-1.35, 0.95), (-0.9, 1.34), (-0.25, 1.36), (-0.25, 0.95)),
        ((-0.15, 0.95), (-0.15, 1.36), (0.25, 1.36), (0.8, 0.95)),
    ],
)
VAN = _body(
    (
        (-2.2, 0.3),
        (-2.25, 1.05),
        (-2.1, 1.85),
        (-0.4, 1.95),
        (0.8, 1.85),
        (1.5, 1.1),
        (2.2, 0.95),
        (2.25, 0.35),
    ),
    rear_window=1,
    windscreen=4,
    panes=[
        ((-1.9, 1.15), (-1.85, 1.7), (-0.6, 1.75), (-0.6, 1.15)),
        ((-0.5, 1.15), (-0.5, 1.75), (0.7, 1.72), (1.25, 1.15)),
    ],
)


def draw_car(
    canvas: Canvas, rng: np.random.Generator, x: float, z: float, light: float, *, yaw: float
) -> None:
    """A car or van with its middle at (x, z). Yaw 0 shows the tail, pi the nose, pi/2 a side."""
    paint = varied(rng, PAINTS[rng.integers(len(PAINTS))], 0.12)
    cos, sin = np.cos(yaw), np.sin(yaw)
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    place = np.array([x, 0.0, z])
    eye = turn.T @ (np.array([0.0, canvas.camera.eye, 0.0]) - place)

    def seen(colour: Shade, brightness: float) -> Colour:
        return canvas.colour(colour, z, light * brightness)

    faces = VAN if rng.random() < 0.2 else SALOON
    visible = [face for face in faces if face.normal @ (eye - face.middle) > 0]
    outlines: list[Floats] = []
    colours: list[Colour] = []
    for face in sorted(visible, key=lambda face: -float(np.linalg.norm(face.middle - eye))):
        outlines += [face.points, *(points for points, _ in face.details)]
        colours += [seen(paint, face.brightness), *(seen(colour, 1) for _, colour in face.details)]
    canvas.fill([points @ turn.T + place for points in outlines], colours, CAR)
