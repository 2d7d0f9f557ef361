"""A quantization-aware model in the form that the converter takes: weights on their grid, ranges as constants."""

from tfopt.keras_model.copy import copy_model
from tfopt.keras_model.walk import sublayers
from tfopt.quantization.fake_quantize import FakeQuantize
from tfopt.quantization.wrapper import QuantizeWrapper


def baked(model):
    """A copy of `model` for inference, with the same outputs.

    The converter does not take rounding of a Dense kernel by channel. It finds the same scales in a kernel that is rounded
    already, also after it has multiplied a BatchNormalization into it. Where no range is known, none is set.

    Args:
        model: what `quantize_aware` returned.

    Returns:
        `keras.Model`.
    """
    copy = copy_model(model)
    for layer in quantization_layers(copy):
        layer.bake()
    return copy


def quantization_layers(model):
    """Yields each `QuantizeWrapper` and `FakeQuantize` of `model`, those inside others too, once."""
    seen = set()

    def walk(layer):
        for inner in sublayers(layer):
            if id(inner) not in seen:
                seen.add(id(inner))
                if isinstance(inner, QuantizeWrapper | FakeQuantize):
                    yield inner
                yield from walk(inner)

    yield from walk(model)
