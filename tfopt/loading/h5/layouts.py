"""Layouts of weights, which depend on the Keras and the backend that wrote a file."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfopt.loading.h5 import keras1_weights
from tfopt.loading.h5.weight_groups import Array

# Layers whose kernels Theano applied mirrored, with their number of kernels.
_CONVOLUTIONS = {
    "Conv1D": 1, "Conv2D": 1, "Conv3D": 1, "Conv2DTranspose": 1, "Conv3DTranspose": 1, "ConvLSTM2D": 2, "SeparableConv1D": 1,
    "SeparableConv2D": 1, "DepthwiseConv2D": 1,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Writer:
    """The properties of a file's writer on which the layout of the weights depends; Keras 2 with TensorFlow by default.

    Attributes:
        is_keras_1: whether Keras 1 wrote the file.
        is_theano: whether Theano computed, whose convolutions mirror the kernel.
        channels_first: names of layers that were written with channels first.
        cudnn: names of layers that were CuDNNLSTM or CuDNNGRU.
        given: names of classes that the user gave; their weights are not converted.
    """

    is_keras_1: bool = False
    is_theano: bool = False
    channels_first: frozenset[str] = frozenset()
    cudnn: frozenset[str] = frozenset()
    given: frozenset[str] = frozenset()


KERAS_2 = Writer()


def arrays_per_variable(layer: Any, writer: Writer) -> int:
    """The number of arrays in the file for each variable of a layer that has no layers of its own."""
    return keras1_weights.arrays_per_variable(type(layer).__name__) if writer.is_keras_1 else 1


def convert(layer: Any, arrays: list[Array], writer: Writer) -> list[Array]:
    """Converts the arrays of a layer to the layout of its variables today.

    Args:
        layer: a Keras layer that has no layers of its own.
        arrays: in the file's order, `arrays_per_variable` for each variable.
        writer: of the file.

    Returns:
        One array for each variable, trainable variables first.
    """
    kind, name = type(layer).__name__, layer.name.removesuffix("_channels_last")
    if kind in writer.given:
        return arrays
    if writer.is_keras_1:
        variables = [*layer.trainable_weights, *layer.non_trainable_weights]
        shapes = [tuple(variable.shape) for variable in variables]
        arrays = keras1_weights.convert_arrays(kind, arrays, shapes, channels_first=name in writer.channels_first)
    if name.removeprefix("forward_").removeprefix("backward_") in writer.cudnn:
        arrays = _from_cudnn(kind, arrays)
    if writer.is_theano and kind in _CONVOLUTIONS:
        count = _CONVOLUTIONS[kind]
        arrays = [_mirrored(array) if index < count else array for index, array in enumerate(arrays)]
    return arrays


def _mirrored(kernel: Array) -> Array:
    return np.flip(kernel, tuple(range(kernel.ndim - 2)))


def _from_cudnn(kind: str, arrays: list[Array]) -> list[Array]:
    """Converts from cuDNN, which transposes the kernels of each gate and has two biases a gate: an LSTM needs their sum."""
    kernel, recurrent, bias = arrays
    gates = 4 if kind == "LSTM" else 3
    kernel = np.concatenate([part.ravel().reshape(part.shape[::-1]).T for part in np.split(kernel, gates, -1)], -1)
    recurrent = np.concatenate([part.T for part in np.split(recurrent, gates, -1)], -1)
    both = bias.reshape(2, -1)
    return [kernel, recurrent, both.sum(0) if kind == "LSTM" else both]
