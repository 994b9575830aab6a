"""Label maps and coloured overlays of images, videos, cameras and network streams.

python -m runtime.infer MODEL SOURCE… -o DIR

SOURCE is any of:

    images and videos   files, folders (searched to the bottom), quoted globs
    a camera            its number (`0`) or device (`/dev/video0`)
    a stream            rtsp://…, http://…

An image gives NAME.labels.png, one byte a pixel at its own size, and NAME.overlay.jpg with a
legend. A video gives NAME.overlay.mp4 and, with --save-labels, NAME.labels/NNNNNN.png for every
frame. What cannot be read is passed over, named at the end, and makes the exit code 2.

Cameras and streams: the outputs bear the time of the start, frames that come too fast are
dropped, a lost connection is made anew. Ctrl-C and SIGTERM end a run: what a camera or stream
gave until then stays, as a video that plays; the unfinished video and labels of a file are removed,
those of an earlier run stay. q in the window of --show ends any video where it is.
"""

from __future__ import annotations

import math
import os
import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import cv2

from emca.cli import Parser, parse_size, run
from emca.errors import UserError
from runtime.backends import BACKENDS
from runtime.evaluate import MODEL_HELP
from runtime.media.images import label_images
from runtime.media.live import hide_password, names_a_file, open_live
from runtime.media.reader import Source, VideoFile
from runtime.media.sources import (
    LABEL_FOLDER,
    LABELS,
    OVERLAY,
    VIDEO_OVERLAY,
    Sources,
    find_sources,
    output_names,
    unused,
)
from runtime.media.video import VideoOptions, label_video
from runtime.media.writer import Window
from runtime.segment.segmenter import Segmenter

NAMED = 10  # of the sources that failed
MOST_ENLARGED = 8  # times that a tile may be: more is a slip of the finger and takes hours


def make_parser() -> Parser:
    """The options of the command line; see the top of this file."""
    parser = Parser(
        prog="python -m runtime.infer",
        description="Label images and videos with a model file.",
        epilog=f"Written to DIR: of images NAME{LABELS} and NAME{OVERLAY}, of videos "
        f"NAME{VIDEO_OVERLAY} and, with --save-labels, NAME{LABEL_FOLDER}/NNNNNN.png.",
    )
    parser.add_argument("model", type=Path, help=MODEL_HELP)
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="files, folders, globs, cameras, addresses"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--show", action="store_true", help="show the overlays in a window")
    parser.add_argument(
        "--save-labels", action="store_true", help="of videos too: one PNG per frame"
    )
    parser.add_argument("--tile", metavar="HxW", help="cut larger images into tiles of this size")
    parser.add_argument(
        "--overlap", type=int, metavar="N", help="pixels that tiles share (default: a quarter)"
    )
    parser.add_argument("--max-frames", type=int, metavar="N", help="label N frames of a video")
    parser.add_argument("--duration", type=float, metavar="S", help="label S seconds of a video")
    parser.add_argument(
        "--reconnect",
        type=int,
        default=10,
        metavar="N",
        help="tries in a row to find a lost stream again (default: 10)",
    )
    parser.add_argument("--backend", default="auto", help=f"auto, {', '.join(BACKENDS)}")
    parser.add_argument("--threads", type=int, default=0, help="0 = every core")
    return parser


def main(argv: list[str] | None = None) -> None:
    """The command line; see the top of this file."""
    args = make_parser().parse_args(argv)
    tile, overlap = _tiling(args)
    _check_limits(args)
    _silence_decoders()
    sources = find_sources(args.sources)
    _check_live(sources, args)
    if args.out.exists() and not args.out.is_dir():
        raise UserError(f"{args.out} is a file; give a folder to write to")
    with ExitStack() as stack:
        segmenter = Segmenter(
            args.model,
            backend=args.backend,
            threads=args.threads,
            streams=1 if tile else 0,  # Ctrl-C ends an image between two tiles
            tile=tile,
            overlap=overlap,
        )
        stack.callback(segmenter.close)
        _check_tile(tile, segmenter.input_size)
        window = Window(f"{args.model}") if args.show else None
        if window:
            stack.callback(window.close)
        is_new = not args.out.exists()
        args.out.mkdir(parents=True, exist_ok=True)
        if is_new:
            stack.callback(_remove_if_empty, args.out)
        troubles = _label(segmenter, sources, args, window)
    if troubles:
        raise UserError(_summary(troubles, len(sources)))


def _label(
    segmenter: Segmenter, sources: Sources, args: Namespace, window: Window | None
) -> list[str]:
    """Label all sources; what is wrong with those that could not be, or not whole."""
    troubles = list(sources.troubles)
    if sources.images:
        done, found = label_images(segmenter, sources.images, args.out, window)
        troubles += found
        what = "image" if done == 1 else "images"
        if done:
            where = f"{args.out}/*{LABELS}, *{OVERLAY}"
            print(f"{done} {what} labelled on {segmenter.backend}: {where}")
    openers: list[tuple[str, Callable[[], Source]]] = []
    names = output_names(sources.videos)
    for path, name in zip(sources.videos, names, strict=True):
        openers.append((name, partial(VideoFile, path)))
    for word in sources.live:
        openers.append(("", partial(open_live, word, args.reconnect)))
    options = VideoOptions(args.save_labels, args.max_frames, args.duration)
    for name, open_source in openers:
        try:
            source = open_source()
        except UserError as error:
            troubles.append(str(error))
            continue
        started = time.strftime("%Y%m%d-%H%M%S")
        if not name:
            name = unused(f"{source.name}-{started}" if source.live else source.name, names)
            names.append(name)
        label_video(segmenter, source, args.out / name, options, window)
        if source.trouble:
            troubles.append(source.trouble)
    return troubles


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # it is not empty
        folder.rmdir()


def _tiling(args: Namespace) -> tuple[tuple[int, int] | None, int]:
    tile = None if args.tile is None else parse_size(args.tile, "--tile")
    if args.overlap is not None:
        return tile, args.overlap
    return tile, min(tile) // 4 if tile else 0


def _check_tile(tile: tuple[int, int] | None, size: tuple[int, int]) -> None:
    if tile and any(side * MOST_ENLARGED < full for side, full in zip(tile, size, strict=True)):
        least = "x".join(str(-(-full // MOST_ENLARGED)) for full in size)
        raise UserError(
            f"--tile {tile[0]}x{tile[1]}: tiles are enlarged to the model's {size[0]}x{size[1]}; "
            f"take {least} or more"
        )


def _check_limits(args: Namespace) -> None:
    if args.max_frames is not None and args.max_frames < 1:
        raise UserError(f"--max-frames={args.max_frames} leaves no frame; take 1 or more")
    if args.duration is not None and not (0 < args.duration < math.inf):
        raise UserError(f"--duration={args.duration:g} is no time; take seconds above 0")
    if args.reconnect < 0:
        raise UserError(f"--reconnect={args.reconnect} is no number of tries; take 0 or more")


def _check_live(sources: Sources, args: Namespace) -> None:
    endless = [word for word in sources.live if not names_a_file(word)]
    if endless and len(sources) > 1 and args.duration is None and args.max_frames is None:
        raise UserError(
            f"{hide_password(endless[0])} has no end, what else is given would never start; "
            "run a command for each, or give --duration or --max-frames"
        )


def _silence_decoders() -> None:
    """Keep what FFmpeg and OpenCV say about every damaged byte off the terminal."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _summary(troubles: list[str], count: int) -> str:
    if count == 1:
        return troubles[0]
    more = f"; and {len(troubles) - NAMED} more" if len(troubles) > NAMED else ""
    what = "could not be labelled whole"
    return f"{len(troubles)} of {count} sources {what}: {'; '.join(troubles[:NAMED])}{more}"


if __name__ == "__main__":
    run(main)
