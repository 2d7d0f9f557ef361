"""Scaling of the data compared with the layer that the model begins with: a wrong or double scaling ruins calibration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import keras


Range = tuple[float, float]
"""(lowest value, highest value)."""

SCALING_FACTOR = 8.0
"""Scaling mistakes are factors of 127.5, 255 or a standard deviation; two samples of the same data differ by less than this."""


def range_notes(representative: Mapping[str, Range], validation: Mapping[str, Range]) -> list[str]:
    """Compares the ranges of the representative data with those of the validation data.

    Example: `range_notes({"x": (0, 255)}, {"x": (0, 1)})` -> "... and the validation data from 0 to 1: 255x off ..."

    Args:
        representative, validation: range by input name.

    Returns:
        A sentence for each input whose values differ by a factor of `SCALING_FACTOR` or more.
    """
    notes = []
    for name, ours in representative.items():
        theirs = validation.get(name, (0.0, 0.0))
        peaks = sorted(max(map(abs, limits)) for limits in (ours, theirs))
        if peaks[0] and peaks[1] >= SCALING_FACTOR * peaks[0]:
            notes.append(
                f"the representative data of input {name!r} reach from {ours[0]:.4g} to {ours[1]:.4g}, and the validation data "
                f"from {theirs[0]:.4g} to {theirs[1]:.4g}: {peaks[1] / peaks[0]:.0f}x off. Prepare both as in training"
            )
    return notes


def scaling_notes(layer: keras.layers.Layer | None, arrays: Mapping[str, npt.NDArray[Any]]) -> list[str]:
    """Compares the range of the data with the scaling that the model applies to its input.

    Example: `scaling_notes(None, {"image": pixels})` -> "... lie in [0, 255], as raw pixels do, but ..."

    Args:
        layer: the `Rescaling` or `Normalization` layer that the model begins with, or None.
        arrays: array (n, ...) by input name.

    Returns:
        What looks wrong, in sentences; an empty list if nothing does.
    """
    if len(arrays) != 1:
        return []
    values = next(iter(arrays.values()))
    if values.dtype.kind != "f":
        return []
    low, high = float(values.min()), float(values.max())
    seen = f"the representative data lie in [{low:.4g}, {high:.4g}]"
    looks_raw = low >= 0 and high > 16
    if layer is None:
        is_image = values.ndim == 4 and values.shape[-1] in (1, 3)
        if is_image and looks_raw:
            return [f"{seen}, as raw pixels do, but the model does not begin with Rescaling: scale them as in training"]
        return []
    if not hasattr(layer, "variance"):  # which a Normalization has, whoever derives from it
        factor = float(np.max(np.abs(np.asarray(layer.scale))))
        if factor < 0.05 and max(abs(low), abs(high)) * factor < 0.05:
            return [f"{seen}, but the model begins with {layer.name} (Rescaling by {factor:.4g}): they look scaled already"]
        if looks_raw and high * factor > 16:
            return [f"{seen}, but the model begins with {layer.name} (Rescaling by {factor:.4g}): they look like raw pixels"]
        return []
    deviation = float(np.sqrt(np.max(np.asarray(layer.variance))))
    center = float(np.max(np.abs(np.asarray(layer.mean))))
    if max(center, deviation) > 5 and max(abs(low), abs(high)) < max(center, deviation) / 4:
        what = f"{layer.name} (Normalization of values about {center:.4g})"
        return [f"{seen}, but the model begins with {what}: they look scaled already"]
    if looks_raw and high - center > 30 * deviation:
        what = f"{layer.name} (Normalization of values about {center:.4g})"
        return [f"{seen}, but the model begins with {what}: they look like raw pixels"]
    return []
