"""Bring arrays to the dtype of a TFLite tensor and back."""

import numpy as np


def quantize(array, detail):
    """Brings a float array to an input's dtype: `clip(round(x / scale) + zero_point)`, or a plain cast where it has no scale."""
    scale, zero_point = detail["quantization"]
    if not scale:
        return np.ascontiguousarray(array, dtype=detail["dtype"])
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.round(array / np.float32(scale)) + zero_point, limits.min, limits.max).astype(detail["dtype"])


def dequantize(array, detail):
    """Brings an output to float32: `(q - zero_point) * scale`; unchanged where it has no scale."""
    scale, zero_point = detail["quantization"]
    return (array.astype(np.float32) - zero_point) * np.float32(scale) if scale else array
