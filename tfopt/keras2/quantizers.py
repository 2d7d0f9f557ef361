"""The quantizers that tfmot puts into a model, and the ranges that they hold."""

import numpy as np

from tfopt.keras_model.walk import walk_layers

_PACKAGE = "tensorflow_model_optimization."


def is_model(layer):
    """Whether a layer is a Sequential or functional model, whose layers can be quantized one by one."""
    return bool(getattr(layer, "layers", None)) and bool(getattr(layer, "outputs", None))


def quantizers(model):
    """The layers that tfmot put into a model in order to round: wrappers of others, and those behind inputs."""
    return [layer for layer in walk_layers(model) if any(_is_quantizer(each) for each in type(layer).__mro__)]


def input_quantizers(model):
    """Those of them behind the inputs of a model, not of models inside."""
    return [layer for layer in model.layers if type(layer).__name__ == "QuantizeLayer"]


def _is_quantizer(layer_class):
    return layer_class.__name__ in ("QuantizeWrapper", "QuantizeLayer") and layer_class.__module__.startswith(_PACKAGE)


def unseen_quantizers(model):
    """Names of the layers of a model whose ranges are still those that tfmot begins with."""
    return list(dict.fromkeys(layer.name for layer in quantizers(model) if any(map(_is_initial, _ranges(layer)))))


def _ranges(layer):
    """Yields (lower end, upper end), arrays, of each range of one of tfmot's layers."""
    values = by_kind(layer)
    for name in values:
        if name.endswith("_min"):
            yield values[name], values[f"{name.removesuffix('_min')}_max"]


def _is_initial(ends):
    # An input's range grows from nothing; all others begin here.
    return all(np.all(end == start) for end, start in zip(ends, (-6, 6), strict=True)) or not any(map(np.any, ends))


def by_kind(layer):
    """dict of a variable's own name -> its value."""
    return {variable.name.rpartition("/")[2].partition(":")[0]: variable.numpy() for variable in layer.weights}
