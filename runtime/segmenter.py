"""The Python API: a model file and an image in, labels out."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from runtime.backends import load
from runtime.evaluate import predict
from runtime.tiles import Tiling, predict_tiled
from segdata.errors import UserError
from segdata.preprocess import fit, read_image


class Segmenter:
    """Labels images of any size with a model file or engine; to be used by one thread.

        with Segmenter("model.onnx") as segmenter:
            labels = segmenter("street.jpg")

    Attributes:
        classes: class names; the index is the label.
        palette: one RGB colour per class, 0..255.
        input_size: (H, W) that the network takes; images are fitted to it, labels fitted back.
        backend: name of what runs the model, as `--backend` spells it.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        backend: str = "auto",
        threads: int = 0,
        tile: tuple[int, int] | None = None,
        overlap: int = 0,
    ) -> None:
        """Load the model.

        Args:
            model: ONNX file of any number format and head, or an engine of runtime.build.
            backend: one of `runtime.backends.BACKENDS`, or "auto".
            threads: CPU threads, 0 for every core.
            tile: (H, W) in pixels of the image; larger images are cut into such tiles.
            overlap: pixels that neighbouring tiles share at least.

        Raises:
            UserError: the file cannot be loaded, or a value makes no sense.
        """
        if overlap and tile is None:
            raise UserError(f"an overlap of {overlap} needs tiles; give the size of a tile too")
        self._tiling = Tiling(tile, overlap) if tile is not None else None
        self._backend = load(model, backend, threads=threads)
        card = self._backend.card
        self.classes, self.palette = card.classes, card.palette
        self.input_size = (self._backend.input_shape[1], self._backend.input_shape[2])
        self.backend = self._backend.name
        self._is_closed = False

    def __call__(self, image: NDArray[np.uint8] | str | Path) -> NDArray[np.uint8]:
        """Label an image file, or RGB pixels uint8 [h,w,3]; the result is uint8 [h,w].

        Raises:
            UserError: the file cannot be read, the array is no RGB image, or `close` was called.
        """
        if self._is_closed:
            raise UserError("this Segmenter is closed; make another")
        pixels = read_image(image) if isinstance(image, str | Path) else _checked(image)
        if self._tiling is None:
            return predict(self._backend, pixels)
        return predict_tiled(self._backend, pixels, self._tiling)

    def fit(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The first step of labelling: RGB [h,w,3] at the network's size, or as it is for tiles.

        `restore(segmenter(segmenter.fit(image)), (h, w))` is `segmenter(image)` in three steps,
        which threads can share; see `segdata.preprocess`.
        """
        return image if self._tiling else fit(image, self.input_size)

    def close(self) -> None:
        """Release the model; the object cannot label afterwards. A second call does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._backend.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


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
