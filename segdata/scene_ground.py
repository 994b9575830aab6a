"""The generated street's surroundings: sky, road and pavement, and the final photograph."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from segdata.preprocess import Bytes
from segdata.scene_canvas import (
    BUILDING,
    NEAR,
    PAVEMENT,
    PEDESTRIAN,
    ROAD,
    SKY,
    TREE,
    Camera,
    Canvas,
    Floats,
    Shade,
    mixed,
    varied,
)

FAR = 400.0  # metres: where ground and sky meet

# Zenith and horizon of clear, hazy, overcast and evening skies.
SKIES: tuple[tuple[Shade, Shade], ...] = (
    ((84, 140, 208), (196, 218, 236)),
    ((130, 170, 215), (222, 226, 228)),
    ((168, 176, 186), (212, 214, 216)),
    ((118, 138, 186), (240, 206, 172)),
)
ASPHALT: Shade = (92, 92, 96)
FLAGSTONE: Shade = (172, 162, 150)
KERB: Shade = (198, 194, 188)
PAINT: Shade = (226, 226, 220)
SKY_DETAIL = 4  # the sky is smooth: painted at a fraction of the size and enlarged


def _levels(per_class: dict[int, float], otherwise: float = 2.0) -> npt.NDArray[np.float32]:
    table = np.full(256, otherwise, np.float32)
    table[list(per_class)] = list(per_class.values())
    return table


# Texture per class in grey levels: grain of a pixel, of leaf or brick size, and broad stains.
_GRAIN = _levels({SKY: 1, BUILDING: 4, ROAD: 5, PAVEMENT: 5, TREE: 9, PEDESTRIAN: 3})
_MOTTLE = _levels({SKY: 0, BUILDING: 3.5, ROAD: 3.5, PAVEMENT: 4, TREE: 12, PEDESTRIAN: 3})
_STAINS = _levels({SKY: 1, BUILDING: 5, ROAD: 6, PAVEMENT: 6, TREE: 6})


def new_canvas(rng: np.random.Generator, camera: Camera) -> Canvas:
    """A canvas with the sky of the day on it; distant things will fade into its horizon."""
    zenith, horizon = (varied(rng, shade, 0.06) for shade in SKIES[rng.integers(len(SKIES))])
    canvas = Canvas(camera, haze=horizon, visibility=rng.uniform(90, 400))
    rows = max(1, min(camera.height, int(camera.horizon) + 2))
    size = (max(2, rows // SKY_DETAIL), max(2, camera.width // SKY_DETAIL))
    share = np.linspace(0, 1, size[0], dtype=np.float32)[:, None, None] ** 0.8
    sky = _row(zenith) * (1 - share) + _row(horizon) * share
    billows = _noise(rng, (5, 9), size) + 0.5 * _noise(rng, (12, 24), size)
    cover, density = rng.uniform(-0.2, 1.6), rng.uniform(0.2, 0.6)
    clouds = np.clip((billows - cover) * density, 0, density)[..., None]
    white = _row(mixed((250, 250, 250), horizon, 0.3))
    sky = (sky + (white - sky) * clouds).astype(np.uint8)
    canvas.image[:rows] = cv2.resize(sky, (camera.width, rows))
    canvas.label[:] = SKY
    return canvas


def draw_ground(canvas: Canvas, rng: np.random.Generator, left: float, right: float) -> None:
    """Pavement everywhere below the horizon, and a road with markings between two kerbs."""
    camera = canvas.camera
    first = max(0, int(np.ceil(camera.horizon)) + 1)
    below = np.arange(camera.height) + 0.5 - camera.horizon
    z = camera.eye * camera.focal / np.maximum(below, 0.5)  # rows at and above it: very far
    stone, asphalt = varied(rng, FLAGSTONE, 0.12), varied(rng, ASPHALT, 0.15)
    canvas.label[first:] = PAVEMENT
    canvas.fill([_stripe(left, right, NEAR, FAR)], [(0, 0, 0)], ROAD)
    road = np.empty_like(canvas.image)
    road[:] = _faded(canvas, asphalt, z)[:, None]
    canvas.image[first:] = _faded(canvas, stone, z)[first:, None]
    cv2.copyTo(road, np.equal(canvas.label, ROAD).view(np.uint8), canvas.image)
    _pavement_details(canvas, mixed(stone, (60, 60, 60), 0.25), left, right)
    _markings(canvas, rng, left, right)


def photograph(canvas: Canvas, rng: np.random.Generator) -> Bytes:
    """Give the picture its focus, surfaces their texture, and all of it grain and exposure."""
    label, picture = canvas.label, canvas.image
    size = label.shape
    blur = rng.uniform(0.0, 0.9) * min(size) / 256
    if blur > 0.3:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), blur), dtype=np.uint8)
    texture = _MOTTLE[label] * _noise(rng, (72, 144), size)
    texture += _STAINS[label] * _noise(rng, (10, 20), size)
    texture += (_GRAIN + np.float32(rng.uniform(0.5, 3.0)))[label] * _white_noise(rng, size)
    picture = np.asarray(cv2.add(picture, cv2.merge([texture] * 3), dtype=cv2.CV_8U))
    exposure = rng.uniform(0.78, 1.12) * (1 + rng.uniform(-0.05, 0.05, 3))
    levels = np.arange(256)[:, None] * exposure
    developed = cv2.LUT(picture, np.clip(levels, 0, 255).astype(np.uint8)[None])
    return np.asarray(developed, dtype=np.uint8)


def _pavement_details(canvas: Canvas, joint: Shade, left: float, right: float) -> None:
    """Joints between flagstones across the pavement, and the kerb stones along it."""
    sides = ((left - 9, left), (right, right + 9))
    joints = [_stripe(*side, z, z + 0.05) for side in sides for z in np.geomspace(3, 40, 26)]
    canvas.fill([np.stack(joints)], [canvas.colour(joint, 10.0)], None)
    bands = ((NEAR, 9.0), (9.0, 25.0), (25.0, 60.0), (60.0, FAR))
    stones = [canvas.colour(KERB, band[0]) for band in bands]
    for inner, outer in ((left, left - 0.22), (right, right + 0.22)):
        canvas.fill([_stripe(inner, outer, *band) for band in bands], stones, PAVEMENT)


def _markings(canvas: Canvas, rng: np.random.Generator, left: float, right: float) -> None:
    """A broken or solid centre line, edge lines, and sometimes a zebra crossing."""
    middle = (left + right) / 2
    if rng.random() < 0.75:
        starts = rng.uniform(0, 5) + np.arange(0, 70, 5.0)
        lines = [_stripe(middle - 0.08, middle + 0.08, z, z + 2.2) for z in starts]
    else:
        lines = [_stripe(middle - 0.07, middle + 0.07, NEAR, 120)]
    if rng.random() < 0.5:
        lines += [_stripe(x - 0.06, x + 0.06, NEAR, 120) for x in (left + 0.35, right - 0.35)]
    if rng.random() < 0.35:
        z = rng.uniform(6, 18)
        lines += [_stripe(x, x + 0.5, z, z + 2.8) for x in np.arange(left + 0.5, right - 0.8)]
    canvas.fill([np.stack(lines)], [canvas.colour(varied(rng, PAINT, 0.06), 12.0)], None)


def _stripe(x0: float, x1: float, z0: float, z1: float) -> Floats:
    """A rectangle on the ground."""
    return np.array([(x0, 0, z0), (x1, 0, z0), (x1, 0, z1), (x0, 0, z1)])


def _row(colour: Shade) -> npt.NDArray[np.float32]:
    return np.array(colour, np.float32)


def _faded(canvas: Canvas, colour: Shade, z: Floats) -> Bytes:
    """`colour` as it looks at each distance: uint8 [len(z),3]."""
    clear = np.exp(-z / canvas.visibility)[:, None]
    mixture = _row(colour) * clear + _row(canvas.haze) * (1 - clear)
    return np.asarray(mixture, dtype=np.uint8)


def _noise(
    rng: np.random.Generator, grid: tuple[int, int], size: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    """Smooth noise [H,W] of about unit variance with `grid` bumps, at any size."""
    coarse = rng.standard_normal(grid, dtype=np.float32) * np.float32(1.5)  # smoothing takes some
    smooth = cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(smooth, dtype=np.float32)


def _white_noise(rng: np.random.Generator, size: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Noise [H,W] of unit variance, independent per pixel; even, which is cheaper than normal."""
    levels = np.frombuffer(rng.bytes(size[0] * size[1]), np.uint8).reshape(size)
    return np.asarray((levels - 127.5) / 73.9, dtype=np.float32)
