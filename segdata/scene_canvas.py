"""A pinhole camera over a flat street, and a canvas that draws image and labels alike.

World coordinates are metres: x to the right of the camera, y up from the ground, z ahead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from segdata.classes import SCENES, Colour

Floats = npt.NDArray[np.floating]
Shade = tuple[float, float, float]

SKY, BUILDING, ROAD, PAVEMENT, TREE, CAR, PEDESTRIAN, POLE, SIGN = range(len(SCENES.classes))

_TURN = np.linspace(0, 2 * np.pi, 16, endpoint=False)
CIRCLE: Floats = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1)  # [16,2], radius 1

NEAR = 1.2  # metres: nothing nearer is drawn, which also keeps projections finite
_SHIFT = 3  # binary digits behind the point in what OpenCV is given


@dataclass(frozen=True)
class Camera:
    """Where the street is seen from: image size, focal length and horizon in pixels."""

    height: int
    width: int
    focal: float
    centre: float
    horizon: float
    eye: float

    def project(self, points: Floats) -> Floats:
        """World points [...,3] -> pixels [...,2] as (column, row)."""
        scale = self.focal / np.maximum(points[..., 2], NEAR)
        pixels = np.empty((*points.shape[:-1], 2))
        pixels[..., 0] = self.centre + points[..., 0] * scale
        pixels[..., 1] = self.horizon + (self.eye - points[..., 1]) * scale
        return pixels

    def pixels(self, metres: float, z: float) -> float:
        """Length on the image of `metres` seen across at distance `z`."""
        return metres * self.focal / max(z, NEAR)


class Canvas:
    """An image and its label map that are drawn together.

    Attributes:
        image: uint8 RGB [H,W,3].
        label: uint8 [H,W].
    """

    def __init__(self, camera: Camera, haze: Shade, visibility: float) -> None:
        """Things fade towards the colour `haze` over `visibility` metres."""
        self.camera = camera
        self.image = np.zeros((camera.height, camera.width, 3), np.uint8)
        self.label = np.zeros((camera.height, camera.width), np.uint8)
        self.haze = haze
        self.visibility = visibility

    def colour(self, colour: Shade, z: float, light: float = 1.0) -> Colour:
        """`colour` under `light` (1: full), as it looks through `z` metres of air."""
        clear = math.exp(-z / self.visibility)
        near, far = light * clear, 1 - clear
        (red, green, blue), (hr, hg, hb) = colour, self.haze
        return (
            _byte(red * near + hr * far),
            _byte(green * near + hg * far),
            _byte(blue * near + hb * far),
        )

    def fill(self, outlines: Sequence[Floats], colours: Sequence[Colour], kind: int | None) -> None:
        """Fill outlines, each one polygon [P,3] or several [N,P,3] in the world, in this order.

        Labels stay as they are where `kind` is None. One call for many outlines is fastest.
        """
        corners = _fixed(self.camera.project(np.concatenate([o.reshape(-1, 3) for o in outlines])))
        start = 0
        for outline, colour in zip(outlines, colours, strict=True):
            stop = start + outline.size // 3
            shape = (-1, outline.shape[-2], 2)
            polygons = list(corners[start:stop].reshape(shape))
            cv2.fillPoly(self.image, polygons, colour, cv2.LINE_AA, _SHIFT)
            if kind is not None:
                cv2.fillPoly(self.label, polygons, kind, cv2.LINE_8, _SHIFT)
            start = stop

    def discs(self, centres: Floats, radii: Floats, colours: Sequence[Colour], kind: int) -> None:
        """Fill circles facing the camera around world points [N,3], in the order given."""
        spots = _fixed(self.camera.project(centres)).tolist()
        sizes = _fixed(radii * self.camera.focal / centres[:, 2] + 0.5).tolist()
        for spot, size, colour in zip(spots, sizes, colours, strict=True):
            cv2.circle(self.image, spot, size, colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)
            cv2.circle(self.label, spot, size, kind, cv2.FILLED, cv2.LINE_8, _SHIFT)


def _fixed(pixels: Floats) -> npt.NDArray[np.int32]:
    # Whole numbers are pixel centres for OpenCV, and edges for the camera: hence the half.
    return np.asarray(np.rint((pixels - 0.5) * (1 << _SHIFT)), dtype=np.int32)


def _byte(level: float) -> int:
    return 0 if level < 0 else 255 if level > 255 else int(level + 0.5)


def upright(x: float, z: float, outline: Sequence[tuple[float, float]] | Floats) -> Floats:
    """A flat figure facing the camera: (across, up) in metres around (x, 0, z) -> world [P,3]."""
    flat = np.asarray(outline)
    points = np.empty((len(flat), 3))
    points[:, 0], points[:, 1], points[:, 2] = flat[:, 0] + x, flat[:, 1], z
    return points


def mixed(first: Shade, second: Shade, share: float) -> Shade:
    """`first` with `share` of `second` in it."""
    a, b = first, second
    return (
        a[0] + (b[0] - a[0]) * share,
        a[1] + (b[1] - a[1]) * share,
        a[2] + (b[2] - a[2]) * share,
    )


def varied(rng: np.random.Generator, colour: Shade, spread: float) -> Shade:
    """`colour` made lighter or darker at random, with a slight change of hue."""
    light = 1 + rng.uniform(-spread, spread)
    red, green, blue = (c * light + rng.uniform(-1, 1) * spread * 40 for c in colour)
    return red, green, blue
