"""Numbers with their units, as people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def percent(value: float | None) -> str:
    """A fraction as `98.33 %`, empty for None."""
    return "" if value is None else f"{100 * value:.2f} %"


def decibel(value: float | None) -> str:
    """An SQNR as `43.3 dB`; infinity, for which JSON has None, as `exact`."""
    return "exact" if value is None or value == math.inf else f"{value:.1f} dB"


def steps(lsb: float | None, value: float | None) -> str:
    """An error in steps of the output (`0.33 LSB`) where the output has steps, else in the output's own unit."""
    return f"{lsb:.2f} LSB" if lsb is not None else "" if value is None else f"{value:.3g}"


def interval(limits: Sequence[float | None] | None) -> str:
    """A range, empty for None. JSON has None for an end that is not finite."""
    if limits is not None and None in limits:
        return "not finite"
    return "" if limits is None else f"{limits[0]:.4g}..{limits[1]:.4g}"


def byte_count(value: int) -> str:
    """A size as `14,640 B`."""
    return f"{value:,} B"


def milliseconds(value: float) -> str:
    """A latency in ms as `1.25 ms`, below 0.1 ms as `2.1 µs`."""
    return f"{value:.2f} ms" if value >= 0.1 else f"{1000 * value:.1f} µs"


def shape(sizes: Sequence[int | None]) -> str:
    """A shape; dimensions that are open are `?`."""
    return "(" + ", ".join("?" if size is None else str(size) for size in sizes) + ")"


def affine(tensor: Mapping[str, Any]) -> str:
    """Scale and zero point of a tensor's dict, empty if it has no scale."""
    return f"{tensor['scale'][0]:.6g}, {tensor['zero_point'][0]}" if tensor.get("scale") else ""


def plural(count: int, noun: str) -> str:
    """A count with its noun: `1 layer`, `1,200 layers`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
