"""Which layers round, which keep the scale of their input, and which have a fixed range."""

from tfopt.keras_model.walk import sublayers

# Activation functions whose int8 output has a range whatever the data: TFLite's own, or all that the function can give.
FIXED_RANGES = {
    "softmax": (0.0, 255 / 256), "sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128), "hard_sigmoid": (0.0, 1.0),
}  # fmt: skip


# What keeps integers and their scale as they are, so that nothing is rounded behind it.
KEEPS_SCALE = {
    "ActivityRegularization", "AlphaDropout", "Cropping1D", "Cropping2D", "Cropping3D", "Dropout", "ExpandDims", "Flatten",
    "GaussianDropout", "GaussianNoise", "GetItem", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D", "Identity",
    "Masking", "MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "Permute", "RepeatVector", "Reshape", "SpatialDropout1D",
    "SpatialDropout2D", "SpatialDropout3D", "Squeeze", "Transpose", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D",
}  # fmt: skip


# Nothing at all in the file.
DROPPED = {
    "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "Identity", "SpatialDropout1D",
    "SpatialDropout2D", "SpatialDropout3D",
}  # fmt: skip


# Computed with the scale of what goes in, to whose integers the results are rounded.
ROUNDS_AS_BEFORE = {"AveragePooling1D", "AveragePooling2D", "AveragePooling3D", "Resizing", "UpSampling2D"}


# Layers whose inner layers run in a loop, or whose inner calls are none of the file's.
_LOOPS = ("RNN", "TimeDistributed")


def keeps_scale(layer):
    """Whether what comes out of `layer` has the integers and the scale of what goes in."""
    name = type(layer).__name__
    nearest = name.startswith("UpSampling") and getattr(layer, "interpolation", "nearest") == "nearest"
    return (name in KEEPS_SCALE or nearest) and is_keras(layer)


def rounds_as_before(layer):
    """Whether what comes out of `layer` is rounded to the grid of what goes in."""
    return type(layer).__name__ in ROUNDS_AS_BEFORE and is_keras(layer) and not keeps_scale(layer)


def is_fused_activation(layer):
    """Whether `layer` is a ReLU that the op before it takes in."""
    name = type(layer).__name__
    if not is_keras(layer):
        return False
    if name == "ReLU":
        return layer.max_value in (None, 6, 6.0) and not layer.negative_slope and not layer.threshold
    return name in ("Relu", "Relu6") or (name == "Activation" and layer_class(layer.activation) in ("relu", "relu6"))


def fixed_range(layer):
    """The range that TFLite gives to whatever leaves `layer`; None where the data decide."""
    name = type(layer).__name__
    if not is_keras(layer):
        return None
    if name in ("Softmax", "Sigmoid", "Tanh"):
        return FIXED_RANGES[name.lower()]
    return FIXED_RANGES.get(layer_class(getattr(layer, "activation", None))) if not is_loop(layer) else None


def has_activation(layer):
    """Whether `layer` applies an activation function that is not linear."""
    function = getattr(layer, "activation", None)
    return function is not None and layer_class(function) != "linear"


def is_recurrent(layer):
    """Whether `layer` computes step by step."""
    return type(layer).__name__ == "Bidirectional" or any(kind.__name__ == "RNN" for kind in type(layer).__mro__)


def is_composite(layer):
    """Whether `layer` is made of others that it calls, each once in a forward pass and not in a loop."""
    return not is_loop(layer) and bool(sublayers(layer))


def layer_class(function):
    module = getattr(function, "__module__", None) or ""
    return getattr(function, "__name__", "") if module.startswith("keras.") else None


def is_keras(layer):
    return type(layer).__module__.startswith("keras.")


def is_loop(layer):
    return any(kind.__name__ in _LOOPS for kind in type(layer).__mro__)
