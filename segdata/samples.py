"""What every data set hands out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from segdata.classes import Taxonomy
from segdata.preprocess import Bytes

DEFAULT_SPLIT = "val"


@dataclass(frozen=True)
class Sample:
    """One image and its label map.

    Attributes:
        name: stable id within the data set, such as the path of the image below PATH.
        image: uint8 RGB [H,W,3].
        label: uint8 [H,W] of train ids and IGNORE_INDEX; None when opened without labels.
    """

    name: str
    image: Bytes
    label: Bytes | None


class Dataset(Protocol):
    """A sequence of samples, each read or drawn anew when asked for; small when pickled."""

    @property
    def spec(self) -> str:
        """The text it was opened by."""

    @property
    def taxonomy(self) -> Taxonomy:
        """Names and colours of its classes."""

    @property
    def names(self) -> list[str]:
        """`Sample.name` of every sample, without reading any."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...
