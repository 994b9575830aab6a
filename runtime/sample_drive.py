"""A photo and a drive through generated streets, to try `runtime.infer` on.

python -m runtime.sample_drive DIR      # DIR/street.jpg and DIR/drive.mp4, ten seconds of 1280x640
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emca.cli import Parser, progress, run
from emca.errors import UserError
from runtime.media.images import write_image
from runtime.media.writer import video_file
from segdata.datasets import open_dataset

HEIGHT, WIDTH, STREET = 640, 1280, 1920
FPS = 25
STREETS, FRAMES = 5, 50  # as many streets, each seen in so many frames


def drive() -> Iterator[NDArray[np.uint8]]:
    """RGB frames uint8 [HEIGHT,WIDTH,3]: the camera pans over one street after the other."""
    streets = open_dataset(f"scenes:n={STREETS},size={HEIGHT}x{STREET}:test", labels=False)
    for k in range(STREETS):
        wide = streets[k].image
        for place in np.linspace(0, STREET - WIDTH, FRAMES).round().astype(int):
            yield np.ascontiguousarray(wide[:, place : place + WIDTH])


def main(argv: list[str] | None = None) -> None:
    """Write both files and say so."""
    parser = Parser(
        prog="python -m runtime.sample_drive", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args(argv).folder
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give a folder to write to")
    folder.mkdir(parents=True, exist_ok=True)
    photo, clip = folder / "street.jpg", folder / "drive.mp4"
    with video_file(clip, FPS, keep=False) as writer:
        for index, frame in enumerate(progress(drive(), desc=clip.name, total=STREETS * FRAMES)):
            if index == 0:
                write_image(photo, frame)
            writer.write(frame)
    print(f"{photo}, {clip}")


if __name__ == "__main__":
    run(main)
