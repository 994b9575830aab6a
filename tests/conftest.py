"""Lets every test import what stands in `helpers`; imports nothing heavy itself."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "helpers"))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Lets SIGINT arrive, here and in children: it is ignored where the tests run behind `&`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
