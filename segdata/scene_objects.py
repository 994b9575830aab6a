"""What stands and walks on the generated street: trees, people, poles, lamps and signs."""

from __future__ import annotations

import math

import numpy as np

from segdata.scene_canvas import (
    CIRCLE,
    PEDESTRIAN,
    POLE,
    SIGN,
    TREE,
    Canvas,
    Floats,
    Shade,
    mixed,
    upright,
    varied,
)

LEAVES: tuple[Shade, ...] = ((64, 104, 40), (84, 118, 46), (52, 88, 48), (104, 124, 44))
CLOTHES: tuple[Shade, ...] = (
    (190, 40, 50),
    (230, 190, 60),
    (40, 60, 120),
    (220, 110, 40),
    (70, 140, 170),
    (150, 60, 130),
    (235, 235, 235),
    (40, 40, 44),
)
SKIN: tuple[Shade, ...] = ((226, 180, 150), (190, 140, 108), (120, 82, 60))
STEEL: tuple[Shade, ...] = ((96, 100, 104), (60, 66, 66), (150, 154, 156), (52, 74, 62))
WHITE: Shade = (240, 240, 236)
RED: Shade = (204, 28, 36)
BLUE: Shade = (28, 72, 176)
YELLOW: Shade = (244, 196, 36)
GREEN: Shade = (24, 112, 72)

_TORSO = [(-0.2, 0.82), (0.2, 0.82), (0.23, 1.4), (0.1, 1.48), (-0.1, 1.48), (-0.23, 1.4)]

_TRIANGLE = np.array([(-1.1, -0.75), (1.1, -0.75), (0.0, 1.15)])
_SQUARE = np.array([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)])
_DIAMOND = np.array([(-1.15, 0.0), (0.0, -1.15), (1.15, 0.0), (0.0, 1.15)])
_BOARD = np.array([(-1.6, -0.8), (1.6, -0.8), (1.6, 0.8), (-1.6, 0.8)])
_ARROW = np.array(
    [(-0.15, -0.6), (0.15, -0.6), (0.15, 0.1), (0.4, 0.1), (0.0, 0.6), (-0.4, 0.1), (-0.15, 0.1)]
)
# Signs as layers of (outline, colour) around the middle of the plate, whose half size is 1.
PLATES: tuple[tuple[tuple[Floats, Shade], ...], ...] = (
    ((CIRCLE, RED), (CIRCLE * 0.72, WHITE)),
    ((CIRCLE, BLUE), (_ARROW, WHITE)),
    ((_TRIANGLE, RED), (_TRIANGLE * 0.62, WHITE)),
    ((_SQUARE, BLUE), (_ARROW, WHITE)),
    ((_DIAMOND, WHITE), (_DIAMOND * 0.8, YELLOW)),
    ((_BOARD, GREEN), (_BOARD * (0.7, 0.25), WHITE)),
)

THICKNESS = 0.24  # metres
# Poles do not get thinner than this share of the image's geometric mean side: 4 px at 256x512.
THINNEST = 0.0112


def draw_tree(canvas: Canvas, rng: np.random.Generator, x: float, z: float, light: float) -> None:
    """A broad-leaved tree: a trunk, and a crown of leaf clusters that is brighter on top."""
    height, spread = rng.uniform(4.5, 8.5), rng.uniform(1.4, 2.4)
    bole = height * rng.uniform(0.28, 0.4)
    trunk = [(-0.17, 0.0), (0.17, 0.0), (0.11, height * 0.6), (-0.11, height * 0.6)]
    bark = varied(rng, (92, 72, 54), 0.15)
    canvas.fill([upright(x, z, trunk)], [canvas.colour(bark, z, light)], TREE)

    leaf = varied(rng, LEAVES[rng.integers(len(LEAVES))], 0.12)
    clusters = int(np.clip(370 * spread / z, 16, 60))  # by distance alone: alike at any size
    angle, reach = rng.uniform(0, 2 * np.pi, clusters), np.sqrt(rng.uniform(0, 1, clusters))
    across, up = np.cos(angle) * reach, np.sin(angle) * reach
    radii = rng.uniform(0.2, 0.38, clusters) * spread
    brightness = light * (0.86 + 0.3 * up + rng.uniform(-0.16, 0.16, clusters))
    spots = np.empty((clusters, 3))
    spots[:, 0] = x + across * spread * 0.85
    spots[:, 1] = bole + (height - bole) / 2 * (1 + up * 0.85)
    spots[:, 2] = z
    order = np.argsort(up)  # the lit top covers the shaded bottom
    colours = [canvas.colour(leaf, z, float(brightness[k])) for k in order]
    canvas.discs(spots[order], radii[order], colours, TREE)


def draw_pedestrian(
    canvas: Canvas, rng: np.random.Generator, x: float, z: float, light: float
) -> None:
    """Somebody walking or standing."""
    size = rng.uniform(1.55, 1.9) / 1.75
    stride = rng.uniform(0.0, 0.28)
    top, trousers = (varied(rng, CLOTHES[rng.integers(len(CLOTHES))], 0.15) for _ in range(2))
    skin = SKIN[rng.integers(len(SKIN))]
    dark = mixed(trousers, (40, 40, 50), 0.5)
    hair = mixed((40, 30, 24), (190, 170, 130), float(rng.random() ** 2))

    swing = stride * 0.7
    front, rear = stride + 0.06, 0.06 - stride
    figure = (
        ([(-0.13, 0.9), (0.13, 0.9), (front + 0.07, 0.0), (front - 0.13, 0.0)], dark, 0.8),
        ([(-0.13, 0.9), (0.13, 0.9), (rear + 0.07, 0.0), (rear - 0.13, 0.0)], dark, 1.0),
        ([(0.14, 1.42), (0.25, 1.36), (0.28 + swing, 0.85), (0.17 + swing, 0.85)], top, 0.75),
        (_TORSO, top, 1.0),
        ([(-0.14, 1.42), (-0.25, 1.36), (-0.28 - swing, 0.85), (-0.17 - swing, 0.85)], top, 0.85),
    )
    outlines = [upright(x, z, np.array(outline) * size) for outline, _, _ in figure]
    shades = [canvas.colour(colour, z, light * brightness) for _, colour, brightness in figure]
    canvas.fill(outlines, shades, PEDESTRIAN)
    head = np.array([(x, 1.66 * size, z), (x + 0.02, 1.6 * size, z)])
    radii = np.array([0.135, 0.115]) * size
    shades = [canvas.colour(shade, z, light) for shade in (hair, skin)]
    canvas.discs(head, radii, shades, PEDESTRIAN)


def draw_lamp(
    canvas: Canvas, rng: np.random.Generator, x: float, z: float, light: float, *, towards: int
) -> None:
    """A street lamp whose arm reaches to the left (-1) or right (1)."""
    height = rng.uniform(5.0, 7.5)
    steel = varied(rng, STEEL[rng.integers(len(STEEL))], 0.12)
    half = _pole(canvas, x, z, height, steel, light)
    reach = towards * rng.uniform(0.9, 1.6)
    arm = [(0.0, height - half), (0.0, height), (reach, height + 0.35), (reach, height + 0.2)]
    head = [(reach * 0.75, height + 0.1), (reach * 1.3, height + 0.25), (reach * 0.8, height + 0.5)]
    shades = [canvas.colour(steel, z, light), canvas.colour(steel, z, light * 0.8)]
    canvas.fill([upright(x, z, arm), upright(x, z, head)], shades, POLE)


def draw_sign(canvas: Canvas, rng: np.random.Generator, x: float, z: float, light: float) -> None:
    """A traffic sign on its post: a disc, a triangle, a square or a board."""
    height, size = rng.uniform(2.2, 2.9), rng.uniform(0.38, 0.5)
    _pole(canvas, x, z, height, STEEL[rng.integers(len(STEEL))], light)
    layers = PLATES[rng.integers(len(PLATES))]
    outlines = [upright(x, z, np.array([0, height]) + shape * size) for shape, _ in layers]
    bright = max(light, 0.85)  # signs reflect
    shades = [canvas.colour(varied(rng, colour, 0.06), z, bright) for _, colour in layers]
    canvas.fill(outlines, shades, SIGN)


def draw_signal(canvas: Canvas, rng: np.random.Generator, x: float, z: float, light: float) -> None:
    """A traffic light on its post."""
    height = rng.uniform(2.5, 3.1)
    _pole(canvas, x, z, height, STEEL[rng.integers(len(STEEL))], light)
    box = [
        (-0.24, height - 0.2),
        (0.24, height - 0.2),
        (0.24, height + 0.95),
        (-0.24, height + 0.95),
    ]
    canvas.fill([upright(x, z, box)], [canvas.colour((30, 32, 34), z, light)], SIGN)
    lit = rng.integers(3)
    lamps = ((40, 220, 110), (250, 180, 40), (240, 40, 40))
    shades = [lamp if k == lit else mixed(lamp, (24, 24, 24), 0.85) for k, lamp in enumerate(lamps)]
    centres = np.array([(x, height + 0.05 + 0.33 * k, z) for k in range(3)])
    canvas.discs(centres, np.full(3, 0.13), [canvas.colour(shade, z) for shade in shades], SIGN)


def _pole(canvas: Canvas, x: float, z: float, height: float, steel: Shade, light: float) -> float:
    """A post with a lit edge; returns half its width in metres."""
    camera = canvas.camera
    thinnest = THINNEST * math.sqrt(camera.height * camera.width) / camera.pixels(1.0, z)
    half = max(THICKNESS, thinnest) / 2
    post = [(-half, 0.0), (half, 0.0), (half, height), (-half, height)]
    edge = [(-half, 0.0), (-half / 3, 0.0), (-half / 3, height), (-half, height)]
    shades = [canvas.colour(steel, z, light), canvas.colour(steel, z, light * 1.3)]
    canvas.fill([upright(x, z, post), upright(x, z, edge)], shades, POLE)
    return half
