from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def shared() -> Path:
    """Real images beside the project; tests on them are skipped where they are absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no real images at {SHARED}")
    return SHARED


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def plain_folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Three images of two sizes with labels of three classes and some void."""
    root = tmp_path / "plain"
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    (root / "classes.txt").write_text("sky\nbig road 10 20 30\ncar\n")
    for name, size in (("a", (20, 30)), ("b", (20, 30)), ("c", (16, 24))):
        label = rng.integers(0, 3, size, np.uint8)
        label[:2] = 255
        cv2.imwrite(
            str(root / "images" / f"{name}.jpg"), rng.integers(0, 256, (*size, 3), np.uint8)
        )
        cv2.imwrite(str(root / "labels" / f"{name}.png"), label)
    return root
