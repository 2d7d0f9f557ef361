"""A quantization-aware model in the form that the converter takes: weights on their grid, ranges as constants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tfopt.keras_model.copy import copy_model
from tfopt.keras_model.walk import walk_layers
from tfopt.quantization.fake_quantize import FakeQuantize
from tfopt.quantization.wrapper import QuantizeWrapper

if TYPE_CHECKING:
    import keras


def baked(model: keras.Model) -> keras.Model:
    """A copy of `model` for inference, with the same outputs.

    The converter does not take the rounding of a Dense kernel by channel. In a kernel that is rounded already, it finds the same
    scales, also after it has multiplied a BatchNormalization into the kernel. Where no range is known, none is set.

    Args:
        model: a model that `quantize_aware` returned; it is untouched.

    Returns:
        A new model.
    """
    copy = copy_model(model)
    for layer in quantization_layers(copy):
        layer.bake()
    return copy


def quantization_layers(model: keras.Model) -> Iterator[QuantizeWrapper | FakeQuantize]:
    """Yields each `QuantizeWrapper` and `FakeQuantize` of `model` once, also those inside other layers."""
    for layer in walk_layers(model):
        if isinstance(layer, QuantizeWrapper | FakeQuantize):
            yield layer
