"""Label maps and overlays of images, labelled by a Triton Inference Server.

python -m runtime.serve_client URL NAME IMAGES… -o DIR [--grpc] [--in-flight N]

URL is HOST:PORT, NAME that of a model of runtime.serve_repository. IMAGES and the files in DIR
are those of runtime.infer.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path

from emca.cli import Parser, progress, run
from emca.errors import UserError
from runtime.media.images import write_image
from runtime.media.sources import LABELS, OVERLAY, find_sources, output_names
from runtime.serving.client import ServedModel
from segdata.draw import overlay_with_legend
from segdata.preprocess import read_image

IN_FLIGHT = 4


class Workers:
    """Threads with a connection each, that label files.

    Several requests on their way at once are what dynamic batching makes its batches of.
    """

    def __init__(self, url: str, name: str, protocol: str, count: int) -> None:
        """`count` requests may be on their way at once; the others as for ServedModel."""
        self._address = (url, name, protocol)
        self._own = threading.local()
        self._all: list[ServedModel] = []
        self._pool = ThreadPoolExecutor(count)

    def label(self, source: Path, target: Path) -> Future[str]:
        """Write TARGET.labels.png and TARGET.overlay.jpg of an image file, soon.

        The result says what is wrong with the file, or nothing.
        """
        return self._pool.submit(self._label, source, target)

    def close(self) -> None:
        """Wait for what is on its way, drop the rest, close the connections."""
        self._pool.shutdown(cancel_futures=True)
        for model in self._all:
            model.close()

    def _label(self, source: Path, target: Path) -> str:
        if not hasattr(self._own, "model"):
            url, name, protocol = self._address
            self._own.model = ServedModel(url, name, protocol=protocol)
            self._all.append(self._own.model)
        model: ServedModel = self._own.model
        try:
            image = read_image(source)
        except UserError as error:  # of one among thousands, perhaps
            return str(error)
        labels = model(image)
        write_image(target.with_name(f"{target.name}{LABELS}"), labels)
        picture = overlay_with_legend(image, labels, model.classes, model.palette)
        write_image(target.with_name(f"{target.name}{OVERLAY}"), picture)
        return ""


def main(argv: list[str] | None = None) -> None:
    """The command line; see the top of this file."""
    parser = Parser(
        prog="python -m runtime.serve_client", description="Label images with a Triton server."
    )
    parser.add_argument("url", help="HOST:PORT")
    parser.add_argument("name", help="of the model")
    parser.add_argument("images", nargs="+", help="files, folders, globs")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--grpc", action="store_true", help="gRPC in place of HTTP")
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help=f"default {IN_FLIGHT}")
    args = parser.parse_args(argv)
    if args.in_flight < 1:
        raise UserError(f"--in-flight={args.in_flight} sends nothing; take 1 or more")
    sources = find_sources(args.images)
    if others := [*map(str, sources.videos), *sources.live]:
        raise UserError(f"{others[0]} is no image file; the client labels image files")
    images = sources.images
    protocol = "grpc" if args.grpc else "http"
    ServedModel(args.url, args.name, protocol=protocol).close()  # a wrong address shows at once
    if args.out.exists() and not args.out.is_dir():
        raise UserError(f"{args.out} is a file; give a folder to write to")
    args.out.mkdir(parents=True, exist_ok=True)
    with closing(Workers(args.url, args.name, protocol, args.in_flight)) as workers:
        pairs = zip(images, output_names(images), strict=True)
        waiting = [workers.label(image, args.out / name) for image, name in pairs]
        answers = progress(as_completed(waiting), desc="labelling", total=len(waiting))
        damaged = [trouble for done in answers if (trouble := done.result())]
    count = len(images) - len(damaged)
    what = "image" if count == 1 else "images"
    print(f"{count} {what} labelled by {args.name} at {args.url} over {protocol}: {args.out}")
    if troubles := [*sources.troubles, *damaged]:
        raise UserError(
            f"{len(troubles)} of {len(sources)} sources left out: {'; '.join(troubles)}"
        )


if __name__ == "__main__":
    run(main)
