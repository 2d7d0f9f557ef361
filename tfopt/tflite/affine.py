"""Convert arrays to the dtype of a quantized tensor, and back to real values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


def quantize(array: npt.NDArray[Any], detail: Mapping[str, Any]) -> npt.NDArray[Any]:
    """Converts real values to the dtype of an input: `clip(round(x / scale) + zero_point)`, or a plain cast if it has no scale.

    Args:
        array: of any shape, in real units.
        detail: an entry of LiteRT's `get_input_details()`, with "quantization": (scale, zero point) and "dtype"; a scale of 0.0
            says that there is none.
    """
    scale, zero_point = detail["quantization"]
    if not scale:
        return np.ascontiguousarray(array, dtype=detail["dtype"])
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.round(array / np.float32(scale)) + zero_point, limits.min, limits.max).astype(detail["dtype"])


def dequantize(array: npt.NDArray[Any], detail: Mapping[str, Any]) -> npt.NDArray[Any]:
    """Converts an output to float32: `(q - zero_point) * scale`; an output without a scale is returned as it is.

    Args:
        array: of any shape, in the dtype of the output.
        detail: an entry of LiteRT's `get_output_details()`, as for `quantize`.
    """
    scale, zero_point = detail["quantization"]
    return (array.astype(np.float32) - zero_point) * np.float32(scale) if scale else array
