"""Class names, official colours and ids of the data sets: the only place where they stand."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segdata import ade20k

Colour = tuple[int, int, int]

# Label of pixels that belong to no class: neither trained on nor counted.
IGNORE_INDEX = 255


@dataclass(frozen=True)
class Taxonomy:
    """The classes of a data set; a class's index is its train id.

    Attributes:
        name: of the data set.
        classes: one name per class.
        palette: one RGB colour per class, 0..255.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]

    def __post_init__(self) -> None:
        if len(self.classes) != len(self.palette):
            raise ValueError(f"{len(self.classes)} classes but {len(self.palette)} colours")


def generated_palette(count: int) -> tuple[Colour, ...]:
    """`count` colours that differ well from their neighbours; always the same ones."""
    golden = 0.618034  # of a turn: successive hues stay far apart for any count
    colours = []
    for index in range(count):
        saturation, value = (0.55, 0.75, 0.95)[index % 3], (0.95, 0.7)[index // 3 % 2]
        rgb = colorsys.hsv_to_rgb(index * golden % 1.0, saturation, value)
        colours.append((round(rgb[0] * 255), round(rgb[1] * 255), round(rgb[2] * 255)))
    return tuple(colours)


def _taxonomy(name: str, rows: list[tuple[str, Colour]]) -> Taxonomy:
    return Taxonomy(name, tuple(row[0] for row in rows), tuple(row[1] for row in rows))


ADE20K = _taxonomy("ade20k", ade20k.rows())

CAMVID = _taxonomy(
    "camvid",
    [
        ("sky", (128, 128, 128)),
        ("building", (128, 0, 0)),
        ("pole", (192, 192, 128)),
        ("road", (128, 64, 128)),
        ("pavement", (0, 0, 192)),
        ("tree", (128, 128, 0)),
        ("sign", (192, 128, 128)),
        ("fence", (64, 64, 128)),
        ("car", (64, 0, 128)),
        ("pedestrian", (64, 64, 0)),
        ("bicyclist", (0, 128, 192)),
    ],
)

# (label id in the files, name, colour); the position is the train id
_CITYSCAPES_ROWS: list[tuple[int, str, Colour]] = [
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
]
CITYSCAPES_LAST_LABEL = 33
CITYSCAPES = _taxonomy("cityscapes", [row[1:] for row in _CITYSCAPES_ROWS])


def _cityscapes_table() -> npt.NDArray[np.uint8]:
    table = np.full(256, IGNORE_INDEX, np.uint8)
    for train_id, (label_id, _, _) in enumerate(_CITYSCAPES_ROWS):
        table[label_id] = train_id
    table.setflags(write=False)
    return table


# uint8 [256]: label id in a gtFine file -> train id, IGNORE_INDEX for what is not evaluated
CITYSCAPES_LABEL_TO_TRAIN = _cityscapes_table()

SCENES = _taxonomy(
    "scenes",
    [
        ("sky", (135, 190, 235)),
        ("building", (150, 95, 80)),
        ("road", (110, 80, 125)),
        ("pavement", (225, 150, 200)),
        ("tree", (85, 150, 50)),
        ("car", (30, 50, 190)),
        ("pedestrian", (225, 45, 70)),
        ("pole", (235, 200, 60)),
        ("sign", (250, 130, 20)),
    ],
)
