"""Label maps and coloured overlays of any images.

python -m runtime.infer MODEL IMAGES… -o DIR

IMAGES are files, folders (searched to the bottom) or quoted globs. For each one DIR gets
NAME.labels.png, one byte a pixel at the size of the image, and NAME.overlay.jpg with a legend.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.backends import BACKENDS, load
from runtime.evaluate import MODEL_HELP, predict
from segdata.cli import Parser, progress, run
from segdata.draw import overlay_with_legend
from segdata.errors import UserError
from segdata.files import atomic_path
from segdata.preprocess import read_image
from segdata.readers import IMAGE_SUFFIXES

LABELS, OVERLAY = ".labels.png", ".overlay.jpg"


def find_images(patterns: Iterable[str]) -> list[Path]:
    """The image files that paths, folders and globs name, each once, in the order given.

    Raises:
        UserError: a pattern names no image.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        images = list(_expand(pattern))
        if not images:
            kinds = ", ".join(IMAGE_SUFFIXES)
            what = "no image in this folder" if Path(pattern).is_dir() else "no such image"
            raise UserError(f"{pattern}: {what}; give files, folders or globs ({kinds})")
        found.update({path.resolve(): path for path in images if path.resolve() not in found})
    return list(found.values())


def output_names(images: Sequence[Path]) -> list[str]:
    """A name for each image's outputs: its stem, numbered (`x-2`) where the stem is taken."""
    taken: dict[str, None] = {}
    for image in images:
        name, count = image.stem, 1
        while name in taken:
            count += 1
            name = f"{image.stem}-{count}"
        taken[name] = None
    return list(taken)


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write RGB [H,W,3] or one channel [H,W] in the format of the suffix, whole or not at all."""
    suffix = path.suffix
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    data = cv2.imencode(suffix, pixels)[1]
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())


def _expand(pattern: str) -> Iterator[Path]:
    path = Path(pattern).expanduser()
    if path.is_dir():
        files = (file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
        own = (LABELS, OVERLAY)  # of an earlier run into the same folder
        yield from sorted(
            f for f in files if not f.name.startswith(".") and not f.name.endswith(own)
        )
    elif path.exists():
        yield path
    else:
        matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  (absolute globs)
        yield from (Path(match) for match in matches if Path(match).is_file())


def main(argv: list[str] | None = None) -> None:
    """The command line; see the top of this file."""
    parser = Parser(prog="python -m runtime.infer", description="Label images with a model file.")
    parser.add_argument("model", type=Path, help=MODEL_HELP)
    parser.add_argument("images", nargs="+", help="files, folders, globs")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--backend", default="auto", help=f"auto, {', '.join(BACKENDS)}")
    parser.add_argument("--threads", type=int, default=0, help="0 = every core")
    args = parser.parse_args(argv)
    images = find_images(args.images)
    backend = load(args.model, args.backend, threads=args.threads)
    card = backend.card
    if args.out.exists() and not args.out.is_dir():
        raise UserError(f"{args.out} is a file; give a folder to write to")
    args.out.mkdir(parents=True, exist_ok=True)
    names = output_names(images)
    for path, name in zip(progress(images, desc="labelling"), names, strict=True):
        image = read_image(path)
        labels = predict(backend, image)
        write_image(args.out / f"{name}{LABELS}", labels)
        picture = overlay_with_legend(image, labels, card.classes, card.palette)
        write_image(args.out / f"{name}{OVERLAY}", picture)
    print(
        f"{len(images)} images labelled on {backend.name}: {args.out}/*.labels.png, *.overlay.jpg"
    )


if __name__ == "__main__":
    run(main)
