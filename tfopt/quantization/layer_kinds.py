"""How layers round in the int8 file: which ones keep the scale of their input, which ones have a fixed range."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tfopt.errors import ArgumentError
from tfopt.keras_model.describe import describe
from tfopt.keras_model.walk import inner_layers, walk_layers
from tfopt.quantization import weights

if TYPE_CHECKING:
    import keras

    from tfopt.quantization.fake_quantize import Range

# Activation functions whose int8 output has the same range for all data: the range that TFLite gives them, or their codomain.
FIXED_RANGES: dict[str | None, Range] = {
    "softmax": (0.0, 255 / 256), "sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128), "hard_sigmoid": (0.0, 1.0),
}  # fmt: skip

# Layers that augment images in training, and do nothing at inference.
AUGMENTATION = {
    "AugMix", "CutMix", "MixUp", "RandAugment", "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter",
    "RandomContrast", "RandomElasticTransform", "RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale",
    "RandomHue", "RandomInvert", "RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation",
    "RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom",
}  # fmt: skip

# Layers whose output has the integers and the scale of their input, so that nothing is rounded after them.
KEEPS_SCALE = AUGMENTATION | {
    "ActivityRegularization", "AlphaDropout", "Cropping1D", "Cropping2D", "Cropping3D", "Dropout", "ExpandDims", "Flatten",
    "GaussianDropout", "GaussianNoise", "GetItem", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D", "Identity",
    "Masking", "MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "Permute", "RepeatVector", "Reshape", "SpatialDropout1D",
    "SpatialDropout2D", "SpatialDropout3D", "Squeeze", "Transpose", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D",
}  # fmt: skip

# Layers that the file does not hold at all.
DROPPED = AUGMENTATION | {
    "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "Identity", "SpatialDropout1D",
    "SpatialDropout2D", "SpatialDropout3D",
}  # fmt: skip

# Layers whose output is rounded to the scale of their input.
ROUNDS_AS_BEFORE = {"AveragePooling1D", "AveragePooling2D", "AveragePooling3D", "Resizing", "UpSampling2D"}

# The converter multiplies a BatchNormalization into the weights of these layers.
_FOLDING = {
    "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Dense", "DepthwiseConv1D", "DepthwiseConv2D",
    "EinsumDense", "SeparableConv1D", "SeparableConv2D",
}  # fmt: skip
# The file computes a ReLU together with these layers.
_CLAMPING = _FOLDING | {"Add", "BatchNormalization", "Multiply", "Subtract"}

# The slope of the activation function `leaky_relu`.
LEAKY_SLOPE = 0.2

# Layers whose inner layers run in a loop, or whose inner calls are not in the file.
_LOOPS = ("RNN", "TimeDistributed")


def keeps_scale(layer: keras.Operation) -> bool:
    """Whether the output of `layer` has the integers and the scale of its input."""
    name = type(layer).__name__
    nearest = name.startswith("UpSampling") and getattr(layer, "interpolation", "nearest") == "nearest"
    return (name in KEEPS_SCALE or nearest) and is_keras(layer)


def rounds_as_before(layer: keras.Operation) -> bool:
    """Whether the output of `layer` is rounded to the grid of its input.

    That of a leaky ReLU is so that the file computes it exactly: between two scales, XNNPACK multiplies by a number of 8 bits.
    """
    known = type(layer).__name__ in ROUNDS_AS_BEFORE and is_keras(layer) and not keeps_scale(layer)
    return known or leaky_slope(layer) is not None


def leaky_slope(layer: keras.Operation) -> float | None:
    """The slope below 0, from 0 to 1, of a leaky ReLU that is a layer or an operation of its own; None for everything else."""
    name = type(layer).__name__
    slope = None
    if not is_keras(layer):
        return None
    if name in ("LeakyReLU", "LeakyRelu") or (name == "ReLU" and layer.max_value is None and not layer.threshold):
        slope = float(layer.negative_slope)
    elif name == "Activation" and activation_name(layer.activation) == "leaky_relu":
        slope = LEAKY_SLOPE
    return slope if slope and 0.0 < slope <= 1.0 else None


def is_fused_activation(layer: keras.Operation) -> bool:
    """Whether `layer` is a ReLU that the file computes as a part of the operation before it."""
    name = type(layer).__name__
    if not is_keras(layer):
        return False
    if name == "ReLU":
        return layer.max_value in (None, 6, 6.0) and not layer.negative_slope and not layer.threshold
    return name in ("Relu", "Relu6") or (name == "Activation" and activation_name(layer.activation) in ("relu", "relu6"))


def is_computed_with(layer: keras.Operation, following: keras.Operation, rank: int) -> bool:
    """Whether the file computes a layer and `following` as one operation.

    Args:
        layer: a layer with an output of `rank` axes.
        following: the only layer that takes this output.
        rank: number of axes.
    """
    if has_activation(layer):
        return False
    if type(following).__name__ == "BatchNormalization":
        return type(layer).__name__ in _FOLDING and following.axis in (-1, rank - 1)
    return is_fused_activation(following) and type(layer).__name__ in _CLAMPING


def fixed_range(layer: keras.Operation) -> Range | None:
    """The range that TFLite gives to every output of `layer`; None if the data decide."""
    name = type(layer).__name__
    if not is_keras(layer):
        return None
    if name in ("Softmax", "Sigmoid", "Tanh"):
        return FIXED_RANGES[name.lower()]
    return FIXED_RANGES.get(activation_name(getattr(layer, "activation", None))) if not is_loop(layer) else None


def has_activation(layer: keras.Operation) -> bool:
    """Whether `layer` applies an activation function other than the linear one."""
    function = getattr(layer, "activation", None)
    return function is not None and activation_name(function) != "linear"


def is_recurrent(layer: keras.Operation) -> bool:
    """Whether `layer` computes step by step."""
    return type(layer).__name__ == "Bidirectional" or any(kind.__name__ == "RNN" for kind in type(layer).__mro__)


def has_steps(layer: keras.Operation) -> bool:
    """Whether `layer` or a layer inside it is recurrent."""
    return is_recurrent(layer) or any(is_recurrent(inner) for inner in walk_layers(layer))


def is_composite(layer: keras.Operation) -> bool:
    """Whether `layer` is made of other layers, each of which it calls once in a forward pass and not in a loop."""
    return not is_loop(layer) and bool(inner_layers(layer))


def require_floats(layer: keras.Operation, inputs: Iterable[object]) -> None:
    """Raises `ArgumentError` if a layer multiplies integers by its weights or averages them.

    Args:
        layer: a layer or operation that none of the `inputs` gives floats.
        inputs: tensors and other arguments of its call.
    """
    kinds = sorted({str(value.dtype) for value in inputs if hasattr(value, "dtype")})
    if not kinds or is_composite(layer) or not (rounds_as_before(layer) or _multiplies(layer)):
        return
    raise ArgumentError(
        f"Layers that compute in int8 must have float inputs. Received: {describe(layer)} on {', '.join(kinds)}, which a file "
        "would have to cast in float32. Give the model inputs of float32 in their place, keras.Input(shape): for these the file "
        "takes int8 as well, and fit() takes integers."
    )


def _multiplies(layer: keras.Operation) -> bool:
    """Whether a Keras layer multiplies its inputs by weights. One that looks up rows by their numbers does not."""
    import keras

    if not hasattr(layer, "weights"):
        return False
    every = [layer, *walk_layers(layer)]
    known = all(is_keras(each) and not isinstance(each, keras.layers.Embedding) for each in every)
    return known and any(isinstance(grid, weights.Grid) for _, grid in weights.grids(layer))


def activation_name(function: object) -> str | None:
    """The name of an activation function of Keras, such as `relu`; None for a function of somebody else and for None."""
    module = getattr(function, "__module__", None) or ""
    return getattr(function, "__name__", "") if module.startswith("keras.") else None


def is_keras(layer: keras.Operation) -> bool:
    """Whether the class of `layer` is one of Keras itself."""
    return type(layer).__module__.startswith("keras.")


def is_loop(layer: keras.Operation) -> bool:
    """Whether `layer` runs its inner layers step by step, or over one axis."""
    return any(kind.__name__ in _LOOPS for kind in type(layer).__mro__)
