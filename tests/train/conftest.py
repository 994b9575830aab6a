"""A run small enough for tests."""

from __future__ import annotations

import pytest
from tiny import tiny_config

from train.config import Config


@pytest.fixture
def tiny() -> Config:
    return tiny_config()
