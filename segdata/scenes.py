"""Generated street scenes: labelled images without any file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emca.cli import parse_size
from emca.errors import UserError, nearest
from segdata.classes import SCENES, Taxonomy
from segdata.samples import DEFAULT_SPLIT, Dataset, Sample
from segdata.street import draw_street

# Split -> number of scenes unless `n` is given. The position seeds the split, so append only.
SPLITS = {"train": 400, "val": 64, "test": 64}
DEFAULT_SIZE = (256, 512)
SMALLEST_SIDE = 32


@dataclass(frozen=True)
class SceneDataset:
    """Scenes drawn on demand; the same split, index and size give the same pixels every time."""

    spec: str
    split: str
    count: int
    size: tuple[int, int]
    labels: bool

    @property
    def taxonomy(self) -> Taxonomy:
        return SCENES

    @property
    def names(self) -> list[str]:
        return [self._name(index) for index in range(self.count)]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(f"scene {index} of {self.count}")
        # Seeding by both numbers: no scene of one split can appear in another.
        rng = np.random.default_rng([list(SPLITS).index(self.split), index])
        image, label = draw_street(rng, self.size)
        return Sample(self._name(index), image, label if self.labels else None)

    def _name(self, index: int) -> str:
        return f"{self.split}/{index:05d}"


def open_scenes(spec: str, path: str, split: str | None, labels: bool) -> Dataset:
    """Open `scenes:[n=COUNT][,size=HxW][:SPLIT]`; by default 64 (train: 400) of 256x512."""
    split = split or DEFAULT_SPLIT
    if split not in SPLITS:
        raise UserError(
            f"data {spec!r}: unknown split {split!r}{nearest(split, SPLITS)}; "
            f"scenes has {', '.join(SPLITS)}"
        )
    count, size = SPLITS[split], DEFAULT_SIZE
    for option in filter(None, path.split(",")):
        key, _, value = option.partition("=")
        if key == "n":
            count = _count(spec, value)
        elif key == "size":
            size = parse_size(value, f"data {spec!r}: size", least=SMALLEST_SIDE)
        else:
            raise UserError(
                f"data {spec!r}: unknown option {option!r}; scenes takes n=COUNT and size=HxW"
            )
    return SceneDataset(spec, split, count, size, labels)


def _count(spec: str, value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise UserError(f"data {spec!r}: n={value} is no count of scenes; write n=64 for example")
    return int(value)
