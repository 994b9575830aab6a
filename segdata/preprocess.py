"""The one way from an image file to a network's input, and from its labels back to the image.

Evaluation during training, calibration, and inference in Python and C++ all use `fit` before the
network and `restore` after it, so that a number measured at one place holds at every other. What
remains (uint8 to float, `MEAN` and `STD`) is part of the exported graph itself. `fitted` and
`nearest` use integers only: an implementation in another language rounds to the same pixel.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from emca.errors import UserError

Bytes: TypeAlias = npt.NDArray[np.uint8]

# ImageNet statistics, RGB, for pixels in 0..255
MEAN: tuple[float, float, float] = (123.675, 116.28, 103.53)
STD: tuple[float, float, float] = (58.395, 57.12, 57.375)
PADDING = tuple(round(value) for value in MEAN)

_JPEG_START, _JPEG_END = b"\xff\xd8\xff", 0xD9
# Within pixels FF stands before 00 or a restart marker, and may be repeated before any marker.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"


def read_image(path: Path | str) -> Bytes:
    """Read an image file as uint8 RGB [H,W,3], turned upright where its EXIF data say so.

    Raises:
        UserError: the file is missing, damaged, or no image.
    """
    image = _decode(Path(path), cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def read_label(path: Path | str) -> Bytes:
    """Read a label map, one byte a pixel, as uint8 [H,W] with the ids as they stand in the file.

    Raises:
        UserError: the file is missing, damaged, no image, or holds colours instead of ids.
    """
    label = _decode(Path(path), cv2.IMREAD_UNCHANGED)
    if label.ndim == 3 and (label == label[:, :, :1]).all():
        label = np.ascontiguousarray(label[:, :, 0])  # grey saved as colour
    if label.ndim != 2 or label.dtype != np.uint8:
        raise UserError(
            f"{path}: holds colours or 16-bit values; save labels as 8-bit greyscale PNG, "
            "one class id a pixel"
        )
    return label


def fitted(source: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of an image of `source` (h,w) scaled, aspect kept, to fill `size` (H,W)."""
    (h, w), (height, width) = source, size
    if height * w <= width * h:
        return height, max(1, (2 * w * height + h) // (2 * h))
    return max(1, (2 * h * width + w) // (2 * w)), width


def fit(image: Bytes, size: tuple[int, int]) -> Bytes:
    """Letterbox `image` uint8 RGB [h,w,3] to [H,W,3]: scale bilinearly, pad below or to the right.

    The padding has the colour of the mean, which the network sees as zeros. An image that has
    the size already is returned as it is.
    """
    if image.shape[:2] == tuple(size):
        return image
    height, width = fitted((image.shape[0], image.shape[1]), size)
    result = np.empty((*size, 3), np.uint8)
    result[:] = PADDING
    result[:height, :width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return result


def restore(labels: Bytes, source_size: tuple[int, int]) -> Bytes:
    """Undo `fit` on a label map uint8 [H,W]: cut the padding, nearest label at (h,w)."""
    if labels.shape == tuple(source_size):
        return labels
    height, width = fitted(source_size, (labels.shape[0], labels.shape[1]))
    rows, columns = nearest(height, source_size[0]), nearest(width, source_size[1])
    return labels.take(columns, axis=1).take(rows, axis=0)


def nearest(inside: int, length: int) -> npt.NDArray[np.int64]:
    """For each of `length` pixels the nearest of `inside`, by their centres; halves go up.

    In integers and not by OpenCV, whose versions 4 and 5 decide halves differently
    (opencv/opencv#28429).
    """
    return (2 * np.arange(length, dtype=np.int64) + 1) * inside // (2 * length)


def _decode(path: Path, flags: int) -> Bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give an image file that can be read") from None
    decoded = None
    if data and _is_whole(data):
        try:
            decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error as error:
            if "CV_IO_MAX_IMAGE" in str(error):
                raise UserError(
                    f"{path}: its head says that it has more pixels than OpenCV takes (2^30, a "
                    "side 2^20); cut it into parts, if it is not damaged"
                ) from None
    if decoded is None:
        raise UserError(f"{path}: not a readable image, or damaged; replace or remove it")
    return np.asarray(decoded)


def _is_whole(data: bytes) -> bool:
    """Decoders fill what is missing with grey and go on; only the bytes tell."""
    if data.startswith(_JPEG_START):
        return _jpeg_is_whole(data)
    if data.startswith(_PNG_START):
        return _png_is_whole(data)
    return True


def _jpeg_is_whole(data: bytes) -> bool:
    """Whether the end is reached from segment to segment; phones append films behind it."""
    at = 2
    while found := _JPEG_MARKER.search(data, at):
        if data[found.start() + 1] == _JPEG_END:
            return True
        # A marker, the length of its segment and, behind a start of scan, pixels up to the next.
        at = found.start() + 2
        at += int.from_bytes(data[at : at + 2], "big")
    return False


def _png_is_whole(data: bytes) -> bool:
    """Whether every chunk (length, type, content, checksum) is there and as it was written."""
    start = len(_PNG_START)
    while start + 12 <= len(data):
        end = start + 8 + int.from_bytes(data[start : start + 4], "big")
        if zlib.crc32(data[start + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return False
        if data[start + 4 : start + 8] == _PNG_END:
            return True
        start = end + 4
    return False
