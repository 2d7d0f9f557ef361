"""Ranges that the pixels of a folder of images can be scaled to."""

from __future__ import annotations

import os
from typing import Any, Literal

from tfopt.errors import ArgumentError

Scale = Literal["0..1", "-1..1", "0..255"]

# Name -> (factor, offset): a pixel p becomes p * factor + offset.
SCALES: dict[str, tuple[float, float]] = {"0..1": (1 / 255, 0.0), "-1..1": (2 / 255, -1.0), "0..255": (1.0, 0.0)}


def require_folder(scale: Scale | None, *data: Any) -> None:
    """Raises `ArgumentError` if a scale is given and none of the data is a folder: it would change nothing."""
    given = [each for each in data if each is not None]
    paths = [each for each in given if isinstance(each, (str, os.PathLike))]
    if scale is None or any(os.path.isdir(path) or not os.path.exists(path) for path in paths):  # a missing path is told elsewhere
        return
    received = ", ".join(str(each) if isinstance(each, (str, os.PathLike)) else type(each).__name__ for each in given) or "no data"
    raise ArgumentError(f"`--scale` (Python: scale=...) is for folders of images. Received: {received}. Scale the array yourself.")
