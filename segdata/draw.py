"""Label maps as pictures: colours, overlays on the image, and a legend of the classes present."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from segdata.classes import Colour
from segdata.preprocess import Bytes

_BACKGROUND: Colour = (250, 250, 250)
_INK: Colour = (40, 40, 40)


def colorize(labels: Bytes, palette: Sequence[Colour]) -> Bytes:
    """Label map uint8 [H,W] -> uint8 RGB [H,W,3]; labels beyond the palette (ignore) are black."""
    table = np.zeros((256, 1, 3), np.uint8)
    table[: len(palette), 0] = palette
    return np.asarray(cv2.applyColorMap(labels, table), dtype=np.uint8)


def overlay(image: Bytes, labels: Bytes, palette: Sequence[Colour], alpha: float = 0.55) -> Bytes:
    """Blend the class colours over `image` uint8 RGB [H,W,3] and draw thin light class borders.

    `alpha` is the weight of the colours, 0..1. Pixels without a class keep the image.
    """
    result = cv2.addWeighted(colorize(labels, palette), alpha, image, 1 - alpha, 0)
    cv2.copyTo(image, (labels >= len(palette)).view(np.uint8), result)
    # (x + 255) // 2: a quarter less than half of 255 rounds down what lies between two integers.
    light = cv2.convertScaleAbs(result, alpha=0.5, beta=127.25)
    cv2.copyTo(light, _borders(labels).view(np.uint8), result)
    return np.asarray(result, dtype=np.uint8)


def legend(
    classes: Sequence[str], palette: Sequence[Colour], present: Sequence[int], width: int, text: int
) -> Bytes:
    """A strip uint8 RGB [h,width,3] naming the classes in `present`; `text` is the line height."""
    entries = [(classes[k], palette[k]) for k in present if k < len(classes)]
    cell = max((_text_width(name, text) for name, _ in entries), default=0) + 5 * text // 2
    columns = max(1, (width - text) // cell)
    rows = -(-len(entries) // columns)
    strip = np.full((rows * text * 3 // 2 + text // 2, width, 3), _BACKGROUND, np.uint8)
    for k, (name, colour) in enumerate(entries):
        x = text // 2 + k % columns * cell
        y = text // 2 + k // columns * (text * 3 // 2)
        cv2.rectangle(strip, (x, y), (x + text, y + text), colour, cv2.FILLED)
        cv2.putText(
            strip,
            name,
            (x + text * 3 // 2, y + text * 5 // 6),
            cv2.FONT_HERSHEY_SIMPLEX,
            text / 30,
            _INK,
            max(1, text // 18),
            cv2.LINE_AA,
        )
    return strip


def overlay_with_legend(
    image: Bytes,
    labels: Bytes,
    classes: Sequence[str],
    palette: Sequence[Colour],
    alpha: float = 0.55,
) -> Bytes:
    """`overlay` with a legend of the classes present below; uint8 RGB, as wide as the image."""
    text = max(10, image.shape[1] // 40)
    present = [int(k) for k in np.unique(labels)]
    strip = legend(classes, palette, present, image.shape[1], text)
    return np.vstack([overlay(image, labels, palette, alpha), strip])


def _borders(labels: Bytes) -> np.ndarray:
    border = np.zeros(labels.shape, bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    return border


def _text_width(name: str, text: int) -> int:
    return int(cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, text / 30, 1)[0][0])
