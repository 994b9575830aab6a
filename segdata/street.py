"""Generated street scenes: a random street laid out in metres and painted from far to near."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from segdata.preprocess import Bytes
from segdata.scene_buildings import House, draw_house
from segdata.scene_canvas import BUILDING, TREE, Camera, Canvas, upright
from segdata.scene_cars import LENGTH, WIDTH, draw_car
from segdata.scene_ground import draw_ground, new_canvas, photograph
from segdata.scene_objects import draw_lamp, draw_pedestrian, draw_sign, draw_signal, draw_tree

FOCAL = 1.15  # of the image's geometric mean side
LAST_SMALL = 25.0  # metres: people, poles and signs stand no farther, so that they can be seen
STREET_END = 120.0
SHADOW = 150  # of 255: what is left of the light in a shadow


@dataclass(frozen=True)
class Street:
    """The plan of a street: x in metres, and the light on it.

    Attributes:
        kerbs: left and right edge of the road.
        walls: left and right line of the houses.
        sun: -1 or 1, the side the light comes from.
        bright, dim: light on walls that the sun reaches, and on the others.
    """

    kerbs: tuple[float, float]
    walls: tuple[float, float]
    sun: int
    bright: float
    dim: float

    def light(self, side: int) -> float:
        """The sun shines on the houses across from it."""
        return self.dim if side == self.sun else self.bright


class Scenery:
    """Collects what stands on the street with its distance, and the shadows it casts."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self.shadows = np.full((camera.height, camera.width), 255, np.uint8)
        self.cars: list[tuple[float, float]] = []
        self._items: list[tuple[float, Callable[[], None]]] = []

    def add(self, z: float, paint: Callable[[], None]) -> None:
        self._items.append((z, paint))

    def shade(self, x: float, z: float, width: float, length: float) -> None:
        """Darken the ground in a box around (x, z)."""
        left, right, near, far = x - width / 2, x + width / 2, z - length / 2, z + length / 2
        box = np.array([(left, 0, near), (right, 0, near), (right, 0, far), (left, 0, far)])
        corners = np.rint(self.camera.project(box)).astype(np.int32)
        cv2.fillPoly(self.shadows, [corners], SHADOW)

    def paint(self) -> None:
        for _, paint in sorted(self._items, key=lambda item: -item[0]):
            paint()


def draw_street(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Bytes, Bytes]:
    """Draw one scene of `size` (H,W): uint8 RGB [H,W,3] and its labels uint8 [H,W].

    The same generator state gives the same scene; another size shows it at another resolution.
    """
    camera = _camera(rng, size)
    canvas = new_canvas(rng, camera)
    street = _plan(rng)
    scenery = Scenery(camera)
    _place_furniture(canvas, rng, street, scenery)
    _place_traffic(canvas, rng, street, scenery)
    _place_people(canvas, rng, street, scenery)
    draw_ground(canvas, rng, *street.kerbs)
    _cast_shadows(canvas, rng, street, scenery)
    _draw_horizon(canvas, rng)
    _draw_houses(canvas, rng, street)
    scenery.paint()
    return photograph(canvas, rng), canvas.label


def _camera(rng: np.random.Generator, size: tuple[int, int]) -> Camera:
    height, width = size
    return Camera(
        height=height,
        width=width,
        focal=FOCAL * (height * width) ** 0.5 * rng.uniform(0.92, 1.1),
        centre=width * rng.uniform(0.4, 0.6),
        horizon=height * rng.uniform(0.42, 0.52),
        eye=rng.uniform(1.4, 1.9),
    )


def _plan(rng: np.random.Generator) -> Street:
    lane, pavements = rng.uniform(3.6, 5.4), rng.uniform(2.6, 5.0, 2)
    middle = -lane / 2 + rng.uniform(-0.8, 0.8)  # the camera drives on the right
    left, right = middle - lane, middle + lane
    bright = rng.uniform(0.9, 1.12)
    return Street(
        kerbs=(left, right),
        walls=(left - pavements[0], right + pavements[1]),
        sun=int(rng.choice((-1, 1))),
        bright=bright,
        dim=bright * rng.uniform(0.62, 0.9),
    )


def _place_furniture(
    canvas: Canvas, rng: np.random.Generator, street: Street, scenery: Scenery
) -> None:
    """Trees, lamps, signs and traffic lights behind the kerbs."""
    greenery = rng.uniform(0.15, 0.5)
    for side, kerb in zip((-1, 1), street.kerbs, strict=True):
        x, z = kerb + side * 0.75, rng.uniform(5, 9)
        while z < 60:
            kind, light = rng.random(), rng.uniform(0.8, 1.08)
            if kind < greenery:
                scenery.add(z, _later(draw_tree, canvas, rng, x + side * 0.5, z, light))
                scenery.shade(x + side * 0.5 - street.sun * 1.2, z, 3.4, 1.6)
            elif z > LAST_SMALL:
                pass
            elif kind < greenery + 0.22:
                scenery.add(z, _later(draw_lamp, canvas, rng, x, z, light, towards=-side))
            elif kind < greenery + 0.42:
                scenery.add(z, _later(draw_sign, canvas, rng, x, z, light))
            elif kind < greenery + 0.5:
                scenery.add(z, _later(draw_signal, canvas, rng, x, z, light))
            z += rng.uniform(3.2, 7.0)


def _place_traffic(
    canvas: Canvas, rng: np.random.Generator, street: Street, scenery: Scenery
) -> None:
    """Parked cars at the kerbs, moving ones in the lanes, and now and then one that turns."""

    def park(x: float, z: float, yaw: float) -> None:
        reach = LENGTH + 0.4
        if any(abs(x - x1) < WIDTH + 0.2 and abs(z - z1) < reach for x1, z1 in scenery.cars):
            return
        scenery.cars.append((x, z))
        light = rng.uniform(0.82, 1.08)
        across = abs(float(np.sin(yaw)))
        width, length = WIDTH + (LENGTH - WIDTH) * across, LENGTH - (LENGTH - WIDTH) * across
        scenery.shade(x - street.sun * 0.25, z, width + 0.3, length + 0.1)
        scenery.add(z, _later(draw_car, canvas, rng, x, z, light, yaw=yaw))

    left, right = street.kerbs
    for side, kerb in ((-1, left), (1, right)):
        z, crowded = rng.uniform(6.5, 14), rng.uniform(0.0, 0.9)
        while z < 60:
            if rng.random() < crowded:
                park(kerb - side * 1.1, z, (np.pi if side < 0 else 0) + rng.uniform(-0.05, 0.05))
            z += rng.uniform(5.0, 8.0)
    lane = (right - left) / 2
    for _ in range(rng.integers(0, 4)):
        oncoming = rng.random() < 0.5
        x = left + lane * (0.72 if oncoming else 1.28)
        park(x, rng.uniform(7, 45), (np.pi if oncoming else 0) + rng.uniform(-0.06, 0.06))
    if rng.random() < 0.25:
        park(rng.uniform(left, right), rng.uniform(9, 20), rng.uniform(0.35, 0.65) * np.pi)


def _place_people(
    canvas: Canvas, rng: np.random.Generator, street: Street, scenery: Scenery
) -> None:
    """People on the pavements, alone or in small groups, and some who cross the road."""

    def put(x: float, z: float) -> None:
        scenery.shade(x - street.sun * 0.3, z, 0.8, 0.4)
        light = rng.uniform(0.82, 1.1)
        scenery.add(z, _later(draw_pedestrian, canvas, rng, x, z, light))

    for _ in range(rng.integers(2, 6)):
        side = int(rng.integers(2))
        kerb, wall = street.kerbs[side], street.walls[side]
        x, z = kerb + (wall - kerb) * rng.uniform(0.3, 0.85), rng.uniform(6, LAST_SMALL)
        for companion in range(rng.integers(1, 4)):
            put(x + companion * 0.6, z + rng.uniform(-0.5, 0.5))
    if rng.random() < 0.35:
        z = rng.uniform(8, 22)
        for x in rng.uniform(*street.kerbs, rng.integers(1, 4)):
            if all(abs(x - x1) > WIDTH or abs(z - z1) > LENGTH for x1, z1 in scenery.cars):
                put(float(x), z)


def _later(draw: Callable[..., None], *args: object, **options: object) -> Callable[[], None]:
    return lambda: draw(*args, **options)


def _cast_shadows(
    canvas: Canvas, rng: np.random.Generator, street: Street, scenery: Scenery
) -> None:
    """Darken the ground under the scenery and, on sunny days, along the houses."""
    if rng.random() < 0.5:
        wall = street.walls[0 if street.sun < 0 else 1]
        reach = rng.uniform(2.0, 9.0)
        scenery.shade(wall - street.sun * reach / 2, 51.0, reach, 99.0)
    softness = 0.012 * min(scenery.shadows.shape)
    soft = cv2.GaussianBlur(scenery.shadows, (0, 0), softness)
    shaded = cv2.multiply(canvas.image, cv2.merge([soft, soft, soft]), scale=1 / 255)
    canvas.image[:] = shaded


def _draw_horizon(canvas: Canvas, rng: np.random.Generator) -> None:
    """Distant houses and trees that close the street."""
    tall, x = rng.uniform(5, 16), -90.0
    walls = []
    while x < 90:
        width, height = rng.uniform(6, 18), tall * rng.uniform(0.5, 1.3)
        if rng.random() < 0.7:
            corners = [(x, 0), (x + width, 0), (x + width, height), (x, height)]
            walls.append(upright(0.0, 150.0, corners))
        x += width
    canvas.fill([np.stack(walls)], [canvas.colour((150, 130, 120), 150.0)], BUILDING)
    spots, radii = np.full((24, 3), 140.0), rng.uniform(2, 4.5, 24)
    spots[:, 0], spots[:, 1] = rng.uniform(-80, 80, 24), radii * 0.8
    canvas.discs(spots, radii, [canvas.colour((74, 104, 60), 140.0)] * 24, TREE)


def _draw_houses(canvas: Canvas, rng: np.random.Generator, street: Street) -> None:
    """Rows of houses along both sides, with gaps here and there."""
    houses = []
    for side, wall in zip((-1, 1), street.walls, strict=True):
        z, tall = rng.uniform(1.5, 3.0), rng.uniform(8, 16)
        while z < STREET_END:
            length = rng.uniform(7, 15)
            height = max(6.5, tall * rng.uniform(0.7, 1.3))
            setback = side * (0.0 if rng.random() < 0.7 else rng.uniform(0.3, 1.5))
            if rng.random() < 0.88:
                houses.append(House(side, wall + setback, z, z + length, height))
            z += length if rng.random() < 0.8 else length + rng.uniform(2, 6)
    for house in sorted(houses, key=lambda house: -house.start):
        draw_house(canvas, rng, house, street.light(house.side))
