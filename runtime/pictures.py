"""Pictures as text, for pages that bring everything along."""

from __future__ import annotations

import base64

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH = 640
QUALITY = 82


def data_uri(image: NDArray[np.uint8]) -> str:
    """RGB uint8 [H,W,3] as WebP inside a URI, shrunk to what a page shows."""
    scale = WIDTH / image.shape[1]
    if scale < 1:
        size = (WIDTH, max(1, round(image.shape[0] * scale)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1]
    return f"data:image/webp;base64,{base64.b64encode(data.tobytes()).decode()}"
