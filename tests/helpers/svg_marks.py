"""What a drawing is made of."""

from __future__ import annotations

import xml.etree.ElementTree as ET


def marks(svg: str, tag: str) -> list[ET.Element]:
    """The elements of a kind; raises where the drawing is not well formed."""
    return ET.fromstring(svg).findall(f".//{tag}")
