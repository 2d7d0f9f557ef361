"""Ranges that the pixels of a folder of images can be scaled to."""

from __future__ import annotations

from typing import Literal

Scale = Literal["0..1", "-1..1", "0..255"]

# Name -> (factor, offset): a pixel p becomes p * factor + offset.
SCALES: dict[str, tuple[float, float]] = {"0..1": (1 / 255, 0.0), "-1..1": (2 / 255, -1.0), "0..255": (1.0, 0.0)}
