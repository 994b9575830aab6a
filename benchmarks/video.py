"""FPS of `runtime.infer` on a 1280x720 clip beside the bare model's, and its memory.

python benchmarks/video.py MODEL.onnx… --data SPEC [--frames 10000] [-o FILE]

The bare model labels one fitted frame over and over, one at a time as `emca bench` does, and as
many at once as `emca infer` does; turns alternate. On a CPU all stages share the cores, so all are
also measured with the model on all cores but one. The clip is a camera that pans over the images;
the memory is that of the first model.
"""

from __future__ import annotations

import shlex
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from emca.cli import Parser, progress, run
from runtime.backends import load
from runtime.media.reader import VideoFile
from runtime.media.video import VideoOptions, label_video
from runtime.results.machine import usable_cores
from runtime.results.output import json_output, origin
from runtime.segment.segmenter import Segmenter
from runtime.timing.host_queries import HostQueries
from segdata.datasets import open_dataset
from segdata.preprocess import fit

SIZE = (720, 1280)
CLIP = 300  # frames of the clip that is timed
SCENE = 60  # frames of it that show one image
BARE_S = 5.0
TURNS = 5
SAMPLE_S = 1.0


def write_clip(path: Path, images: list[np.ndarray], frames: int) -> None:
    """An MPEG-4 clip that pans over each image for some seconds."""
    code = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, 25, SIZE[::-1])
    for k in progress(range(frames), desc=f"clip of {frames} frames"):
        if k % SCENE == 0:
            image = cv2.cvtColor(images[k // SCENE % len(images)], cv2.COLOR_RGB2BGR)
            wide = cv2.resize(image, (SIZE[1] + 4 * SCENE, SIZE[0] + 2 * SCENE))
        left, top = 4 * (k % SCENE), 2 * (k % SCENE)
        writer.write(wide[top : top + SIZE[0], left : left + SIZE[1]].copy())
    writer.release()


def bare(model: Path, threads: int, streams: int, image: np.ndarray) -> float:
    """Frames per second of inference alone; `streams` as of `load`."""
    backend = load(model, threads=threads, streams=streams)
    batch = fit(image, (backend.input_shape[1], backend.input_shape[2]))[None]
    queries = HostQueries(backend, batch, backend.streams)
    queries.turn(0, backend.streams, time.perf_counter())
    times = queries.turn(BARE_S * 1000, 1, time.perf_counter())
    queries.close()
    backend.close()
    return 1000 * len(times) / max(end for _, end in times)


def pipeline(model: Path, threads: int, clip: Path, out: Path) -> float:
    """Frames per second from file to overlay file, loading the model left out."""
    with Segmenter(model, threads=threads, streams=0) as segmenter:
        segmenter(np.zeros((*SIZE, 3), np.uint8))
        source = VideoFile(clip)
        began = time.perf_counter()
        label_video(segmenter, source, out / "clip", VideoOptions())
        return (source.count or 0) / (time.perf_counter() - began)


@contextmanager
def memory() -> Iterator[list[float]]:
    """Resident MB of this process, once a second while the block runs."""
    samples: list[float] = []
    over = threading.Event()

    def sample() -> None:
        while not over.wait(SAMPLE_S):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            samples.append(pages * 4096 / 1e6)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def speed(model: Path, threads: int, clip: Path, image: np.ndarray, out: Path) -> dict[str, Any]:
    """Medians of alternating turns."""
    turns = []
    for _ in progress(range(TURNS), desc=f"{model.parent.name}, threads={threads or 'all'}"):
        turns.append(
            (
                bare(model, threads, 1, image),
                pipeline(model, threads, clip, out),
                bare(model, threads, 0, image),
            )
        )
    single, video, several = (statistics.median(column) for column in zip(*turns, strict=True))
    return {
        "model": model.parent.name + "/" + model.name,
        "threads": threads or usable_cores(),
        "bare_fps": round(single, 2),
        "bare_fps, several at once": round(several, 2),
        "pipeline_fps": round(video, 2),
        "pipeline / bare": round(statistics.median(turn[1] / turn[0] for turn in turns), 3),
        "pipeline / several": round(statistics.median(turn[1] / turn[2] for turn in turns), 3),
    }


def main(argv: list[str] | None = None) -> None:
    """Measure, print and write."""
    parser = Parser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL")
    parser.add_argument("--data", required=True, metavar="SPEC", help="images of the clip")
    parser.add_argument("--frames", type=int, default=10_000, help="of the run for the memory")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    dataset = open_dataset(args.data, labels=False)
    images = [
        np.asarray(cv2.resize(dataset[k].image, SIZE[::-1]), np.uint8)
        for k in range(min(len(dataset), 60))
    ]
    with json_output(args.output) as write, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_clip(folder / "short.mp4", images, CLIP)
        threads = [0, *([usable_cores() - 1] if usable_cores() > 1 else [])]
        rows = [
            speed(model, n, folder / "short.mp4", images[0], folder)
            for model in args.models
            for n in threads
        ]
        write_clip(folder / "long.mp4", images, args.frames)
        with memory() as samples:
            pipeline(args.models[0], 0, folder / "long.mp4", folder)
        quarter = max(1, len(samples) // 4)
        result = {
            "clip": f"{SIZE[1]}x{SIZE[0]}",
            "rows": rows,
            "memory": {
                "frames": args.frames,
                "seconds": len(samples) * SAMPLE_S,
                "mb after a quarter": round(samples[quarter - 1]),
                "mb at the end": round(samples[-1]),
                "mb at most": round(max(samples)),
            },
        }
        for row in rows:
            print(row)
        print(result["memory"])
        command = shlex.join(["python", "benchmarks/video.py", *words])
        write(origin(command) | result)


if __name__ == "__main__":
    run(main)
