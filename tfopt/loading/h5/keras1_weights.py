"""Weights of Keras 1 in the layout of Keras 2."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfopt.loading.h5.weight_groups import Array

# The order of an LSTM's gates in the file (i, c, f, o) as positions of today's order (i, f, c, o).
_GATES = {"LSTM": (0, 2, 1, 3), "ConvLSTM2D": (0, 2, 1, 3), "GRU": (0, 1, 2)}


def arrays_per_variable(kind: str) -> int:
    """The number of arrays in a Keras 1 file for each variable of a layer: one for each gate of a recurrent layer."""
    return len(_GATES.get(kind, (0,)))


def convert_arrays(kind: str, arrays: Sequence[Array], shapes: Sequence[tuple[int, ...]], *, channels_first: bool) -> list[Array]:
    """Converts the arrays of a Keras 1 layer to the layout of Keras 2.

    Args:
        kind: class name in Keras 2.
        arrays: in the file's order.
        shapes: of the layer's variables.
        channels_first: whether the layer was written with dim_ordering="th".

    Returns:
        One array for each variable.
    """
    arrays = list(arrays)
    if kind in _GATES and len(arrays) != len(shapes):  # one array a gate; with consume_less="gpu" the gates are one array
        kinds = len(shapes)
        arrays = [np.concatenate([arrays[gate * kinds + index] for gate in _GATES[kind]], -1) for index in range(kinds)]
    if not arrays:
        return arrays
    kernel = arrays[0]
    if kind == "Conv1D" and kernel.ndim == 4:
        if kernel.shape[0] == shapes[0][2] and kernel.shape[:2] != (shapes[0][0], 1):
            kernel = kernel.transpose(2, 3, 1, 0)  # Keras 1.0: (filters, channels, length, 1)
        kernel = kernel[:, 0] if kernel.shape[1] == 1 else kernel
    elif kind == "Conv2DTranspose":
        kernel = kernel.transpose(2, 3, 0, 1) if channels_first else kernel.transpose(0, 1, 3, 2)
        if channels_first:
            kernel = kernel.transpose(0, 1, 3, 2) if kernel.shape != tuple(shapes[0]) else kernel
    elif kind in ("Conv2D", "Conv3D", "SeparableConv2D", "ConvLSTM2D") and channels_first:
        count = {"SeparableConv2D": 2, "ConvLSTM2D": 2}.get(kind, 1)
        arrays = [_channels_last(array) if index < count else array for index, array in enumerate(arrays)]
        kernel = arrays[0]
    return [kernel, *arrays[1:]]


def _channels_last(kernel: Array) -> Array:
    # (filters, channels, *sizes) -> (*sizes, channels, filters)
    return np.moveaxis(kernel, (0, 1), (-1, -2))
