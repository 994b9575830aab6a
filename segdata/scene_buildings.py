"""Houses along the generated street: walls, windows, shops and roofs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segdata.scene_canvas import BUILDING, Canvas, Floats, Shade, mixed, varied

WALLS: tuple[Shade, ...] = (
    (164, 92, 72),
    (190, 120, 90),
    (205, 185, 150),
    (214, 200, 180),
    (180, 160, 130),
    (150, 130, 120),
    (196, 160, 110),
    (140, 96, 84),
)
ROOFS: tuple[Shade, ...] = ((120, 60, 50), (92, 84, 88), (140, 78, 56))
GLASS: tuple[Shade, ...] = ((62, 74, 92), (44, 52, 66), (96, 112, 130))
BOARDS: tuple[Shade, ...] = ((150, 40, 40), (40, 80, 60), (50, 60, 110), (170, 130, 60))
FRAME: Shade = (240, 240, 235)
DOOR: Shade = (84, 58, 44)
LIT: Shade = (225, 225, 205)
STOREY = 3.1  # metres
WINDOWS_UP_TO = 48.0  # metres away; farther ones are smaller than a pixel or two

# Boxes [N,4] on a wall as (from, to, low, high) in metres along and up, and their colour.
Part = tuple[Floats, Shade]


@dataclass(frozen=True)
class House:
    """A box beside the street.

    Attributes:
        side: -1 left of the street, 1 right.
        x: of its wall along the street.
        start, end: z of its near and far end.
        height: of the wall; a roof may rise above.
        depth: away from the street.
    """

    side: int
    x: float
    start: float
    end: float
    height: float
    depth: float = 11.0

    @property
    def back(self) -> float:
        """x of the wall away from the street."""
        return self.x + self.side * self.depth


def draw_house(canvas: Canvas, rng: np.random.Generator, house: House, light: float) -> None:
    """Draw a house; `light` is how bright its wall along the street is."""
    wall = varied(rng, WALLS[rng.integers(len(WALLS))], 0.12)
    middle = (house.start + house.end) / 2
    gable_light = 0.92 if light < 0.9 else 0.78

    outlines = [_wall((house.x, house.start), (house.back, house.start), house.height)]
    colours = [canvas.colour(wall, house.start, gable_light)]
    canvas.fill(outlines, colours, BUILDING)
    if house.start < WINDOWS_UP_TO:
        parts = _gable(rng, house, wall)
        worlds = [_on_wall(boxes, x=None, z=house.start) for boxes, _ in parts]
        shades = [canvas.colour(colour, house.start, gable_light) for _, colour in parts]
        canvas.fill(worlds, shades, None)

    outlines, colours = [], []
    if rng.random() < 0.45:
        tiles = varied(rng, ROOFS[rng.integers(len(ROOFS))], 0.1)
        outlines += _roof(house, rng.uniform(1.8, 3.2))
        colours += [canvas.colour(tiles, house.start, shade) for shade in (gable_light, light)]
    outlines.append(_wall((house.x, house.start), (house.x, house.end), house.height))
    colours.append(canvas.colour(wall, middle, light))
    canvas.fill(outlines, colours, BUILDING)
    if house.start < WINDOWS_UP_TO:
        parts = _facade(rng, house, wall)
        worlds = [_on_wall(boxes, x=house.x, z=None) for boxes, _ in parts]
        shades = [canvas.colour(colour, middle, light) for _, colour in parts]
        canvas.fill(worlds, shades, None)


def _facade(rng: np.random.Generator, house: House, wall: Shade) -> list[Part]:
    """The wall along the street: windows, a ground floor with shops or doors, ledges."""
    pitch, share = rng.uniform(1.9, 3.0), rng.uniform(0.45, 0.65)
    low, high = rng.uniform(0.7, 1.0), rng.uniform(2.3, 2.7)
    columns = np.arange(house.start + 0.5, house.end - pitch * 0.8, pitch)
    floors = np.arange(STOREY, house.height - high, STOREY)
    glass = GLASS[rng.integers(len(GLASS))]
    ends = (house.start, house.end)
    parts = _windows(rng, _grid(columns, pitch * share, floors + low, high - low), wall, glass)
    if rng.random() < 0.55:
        panes = np.arange(house.start + 0.3, house.end - 2.4, 3.4)
        parts += [
            (np.array([(*ends, 0.0, STOREY - 0.1)]), mixed(wall, (70, 66, 64), 0.5)),
            (_grid(panes, 2.7, np.array([0.4]), 1.9), GLASS[1]),
            (np.array([(*ends, 2.45, 3.0)]), BOARDS[rng.integers(len(BOARDS))]),
        ]
    else:
        between = np.delete(columns, np.s_[::3])
        parts += [
            (_grid(columns[::3], 1.0, np.array([0.0]), 2.1), DOOR),
            (_grid(between, pitch * share, np.array([low]), 2.2 - low), glass),
        ]
    ledges = np.array([(*ends, level - 0.08, level + 0.1) for level in floors])
    cornice = np.array([(*ends, house.height - 0.4, house.height)])
    return [
        *parts,
        (ledges.reshape(-1, 4), mixed(wall, (0, 0, 0), 0.14)),
        (cornice, mixed(wall, FRAME, 0.2)),
    ]


def _gable(rng: np.random.Generator, house: House, wall: Shade) -> list[Part]:
    """The wall across the street's direction, which a gap in the row shows: some windows."""
    first = min(house.x, house.back)
    columns = np.linspace(first + 1.0, first + house.depth - 2.2, int(rng.integers(2, 5)))
    floors = np.arange(0.0, house.height - 2.6, STOREY)
    boxes = _grid(columns, 1.1, floors + 0.9, 1.5)
    return _windows(rng, boxes, wall, GLASS[rng.integers(len(GLASS))])


def _windows(rng: np.random.Generator, boxes: Floats, wall: Shade, glass: Shade) -> list[Part]:
    """Framed panes, some of which mirror the sky."""
    mirrors = rng.random(len(boxes)) < 0.25
    return [
        (boxes + np.array([-0.12, 0.12, -0.12, 0.12]), mixed(wall, FRAME, 0.55)),
        (boxes[~mirrors], glass),
        (boxes[mirrors], mixed(glass, LIT, 0.5)),
    ]


def _grid(left: Floats, width: float, bottom: Floats, height: float) -> Floats:
    """A box of one size at every column and row: [N,4]."""
    start, low = np.tile(left, len(bottom)), np.repeat(bottom, len(left))
    return np.stack([start, start + width, low, low + height], axis=1)


def _on_wall(boxes: Floats, *, x: float | None, z: float | None) -> Floats:
    """Boxes [N,4] -> world corners [N,4,3] on the wall at `x` along the street or `z` across."""
    along = boxes[:, [0, 1, 1, 0]]
    world = np.empty((len(boxes), 4, 3))
    world[..., 0] = along if x is None else x
    world[..., 1] = boxes[:, [2, 2, 3, 3]]
    world[..., 2] = along if z is None else z
    return world


def _wall(first: tuple[float, float], second: tuple[float, float], height: float) -> Floats:
    """A wall on the ground line from (x, z) to (x, z)."""
    (x0, z0), (x1, z1) = first, second
    return np.array([(x0, 0, z0), (x1, 0, z1), (x1, height, z1), (x0, height, z0)])


def _roof(house: House, rise: float) -> list[Floats]:
    """The triangle over the gable and the slope over the street side of a pitched roof."""
    eaves, ridge = house.height, house.height + rise
    top = (house.x + house.back) / 2
    gable = [
        (house.x, eaves, house.start),
        (top, ridge, house.start),
        (house.back, eaves, house.start),
    ]
    slope = [
        (house.x, eaves, house.start),
        (house.x, eaves, house.end),
        (top, ridge, house.end),
        (top, ridge, house.start),
    ]
    return [np.array(gable), np.array(slope)]
