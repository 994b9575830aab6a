"""The Python API: a model file and an image in, labels out."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emca.errors import UserError
from runtime.backends import Backend, load
from runtime.evaluate import predict
from runtime.segment.pipeline import Lanes
from runtime.segment.tiles import Tiling, predict_tiled
from segdata.preprocess import fit, read_image


class Segmenter:
    """Labels images of any size with a model file or engine; to be used by one thread.

        with Segmenter("model.onnx") as segmenter:
            labels = segmenter("street.jpg")

    Many images, several at once:

        with Segmenter("model.onnx", streams=0) as segmenter:
            for labels in [segmenter.submit(path) for path in paths]:
                print(labels.result().mean())

    Attributes:
        classes: class names; the index is the label.
        palette: one RGB colour per class, 0..255.
        input_size: (H, W) that the network takes; images are fitted to it, labels fitted back.
        backend: name of what runs the model, as `--backend` spells it.
        streams: images that `submit` labels at once.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        backend: str = "auto",
        threads: int = 0,
        streams: int = 1,
        tile: tuple[int, int] | None = None,
        overlap: int = 0,
    ) -> None:
        """Load the model.

        Args:
            model: ONNX file of any number format and head, or an engine of runtime.build.
            backend: one of `runtime.backends.BACKENDS`, or "auto".
            threads: CPU threads, 0 for every core.
            streams: images that `submit` labels at once; 0 for as many as give the most images
                per second, though each of them takes longer then.
            tile: (H, W) in pixels of the image; larger images are cut into such tiles.
            overlap: pixels that neighbouring tiles share at least.

        Raises:
            UserError: the file cannot be loaded, or a value makes no sense.
        """
        if overlap and tile is None:
            raise UserError(f"an overlap of {overlap} needs tiles; give the size of a tile too")
        self._tiling = Tiling(tile, overlap) if tile is not None else None
        with ExitStack() as stack:
            backends = [load(model, backend, threads=threads, streams=streams)]
            stack.callback(backends[0].close)
            for _ in range(backends[0].streams - 1):
                backends.append(backends[0].another())
                stack.callback(backends[-1].close)
            uses = [partial(self._label, each) for each in backends]
            self._lanes = stack.enter_context(Lanes(uses))
            self._stack = stack.pop_all()
        card, shape = backends[0].card, backends[0].input_shape
        self.classes, self.palette = card.classes, card.palette
        self.input_size = (shape[1], shape[2])
        self.backend, self.streams = backends[0].name, len(backends)
        self._is_closed = False

    def __call__(self, image: NDArray[np.uint8] | str | Path) -> NDArray[np.uint8]:
        """Label an image file, or RGB pixels uint8 [h,w,3]; the result is uint8 [h,w].

        Raises:
            UserError: the file cannot be read, the array is no RGB image, or `close` was called.
        """
        return self.submit(image).result()

    def submit(self, image: NDArray[np.uint8] | str | Path) -> Future[NDArray[np.uint8]]:
        """Have an image labelled while the caller goes on; waits while all `streams` are busy.

        The result raises as `__call__` does.

        Raises:
            UserError: `close` was called.
        """
        if self._is_closed:
            raise UserError("this Segmenter is closed; make another")
        return self._lanes.submit(image)

    def fit(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The first step of labelling: RGB [h,w,3] at the network's size, or as it is for tiles.

        `restore(segmenter(segmenter.fit(image)), (h, w))` is `segmenter(image)` in three steps,
        which threads can share; see `segdata.preprocess`.
        """
        return image if self._tiling else fit(image, self.input_size)

    def close(self) -> None:
        """Release the model; the object cannot label afterwards. A second call does nothing."""
        self._is_closed = True
        self._stack.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _label(self, backend: Backend, image: NDArray[np.uint8] | str | Path) -> NDArray[np.uint8]:
        pixels = read_image(image) if isinstance(image, str | Path) else _checked(image)
        if self._tiling is None:
            return predict(backend, pixels)
        return predict_tiled(backend, pixels, self._tiling)


def _checked(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if not isinstance(image, np.ndarray):
        raise UserError(
            f"an image is a path or a NumPy array, not {type(image).__name__}; "
            "give RGB pixels, uint8 [h,w,3]"
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UserError(
            f"an image is RGB pixels, uint8 [h,w,3], got {image.dtype} {list(image.shape)}; "
            "convert it (0..255, three channels)"
        )
    return np.ascontiguousarray(image)
