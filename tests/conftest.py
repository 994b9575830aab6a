"""Lets every test import what stands in `helpers`; imports nothing heavy itself."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "helpers"))
