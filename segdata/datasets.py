"""Labelled images by one name everywhere: `NAME:PATH[:SPLIT]`, such as `camvid:data/camvid:val`.

| name | PATH is the folder with | splits |
|---|---|---|
| ade20k | `ADEChallengeData2016`, or that folder itself | train, val |
| cityscapes | `leftImg8bit` and `gtFine` | train, val, test |
| camvid | `val` and `valannot` and so on | train, val, test |
| folder | `images`, `labels`, `classes.txt` | sub-folders of `images` and `labels`, if any |
| scenes | no files: empty, or options as in `scenes:n=500,size=240x320:train` | train, val, test |

The split is `val` unless given.
"""

from __future__ import annotations

from emca.errors import UserError, nearest
from segdata.readers import READERS
from segdata.samples import Dataset, Sample
from segdata.scenes import open_scenes

__all__ = ["Dataset", "Sample", "open_dataset", "parse_spec"]

_OPENERS = {**READERS, "scenes": open_scenes}


def open_dataset(spec: str, *, labels: bool = True) -> Dataset:
    """Open `NAME:PATH[:SPLIT]`. Without `labels`, images alone are needed and `label` is None.

    Only cheap checks are made here (folders, a label for each image); what is inside a file is
    checked when its sample is read, which raises UserError too.

    Raises:
        UserError: unknown name, path or split, no images, or an image without its label.
    """
    name, path, split = parse_spec(spec)
    if name not in _OPENERS:
        raise UserError(
            f"data {spec!r}: unknown data set {name!r}{nearest(name, _OPENERS)}; "
            f"write NAME:PATH[:SPLIT] with NAME one of {', '.join(_OPENERS)}"
        )
    return _OPENERS[name](spec, path, split, labels)


def parse_spec(spec: str) -> tuple[str, str, str | None]:
    """The parts of `NAME:PATH[:SPLIT]`; the split is None when it is left out.

    A colon inside PATH is fine as long as a slash follows it somewhere, as in `C:/data`.
    """
    name, _, rest = spec.partition(":")
    path, colon, split = rest.rpartition(":")
    if not colon or "/" in split or "\\" in split:
        path, split = rest, ""
    return name, path, split or None
