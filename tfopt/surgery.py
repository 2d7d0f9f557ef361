"""Walk a Keras model, of either generation, without editing it."""

import contextlib


def walk_layers(model):
    """Yields `model`'s layers depth first, nested models and wrapped layers included, each once.

    Args:
        model: a Keras 3 or Keras 2 model.
    """
    seen = set()

    def walk(layer):
        if id(layer) in seen:
            return
        seen.add(id(layer))
        children = [*getattr(layer, "layers", ()), *_wrapped(layer)]
        if layer is not model:
            yield layer
        for child in children:
            yield from walk(child)

    yield from walk(model)


def walk_operations(model):
    """Yields what a Functional Keras 3 model computes outside its layers, as `keras.ops` on symbolic tensors, each once."""
    import keras

    for each in (model, *walk_layers(model)):
        operations = getattr(each, "operations", ())
        if isinstance(each, keras.Sequential) and getattr(each, "built", False) and each.inputs:
            operations = keras.Function(each.inputs, each.outputs).operations  # it keeps its own to itself
        for operation in operations:
            if not hasattr(operation, "weights"):
                yield operation


def _wrapped(layer):
    yield from getattr(layer, "cells", ())
    # `Bidirectional` runs two copies of its `layer`, not that layer itself.
    own = ("forward_layer", "backward_layer") if hasattr(layer, "forward_layer") else ("layer", "cell")
    for name in own:
        child = getattr(layer, name, None)
        if hasattr(child, "get_config"):
            yield child


@contextlib.contextmanager
def replaced(replacements):
    """While it lasts, layers have other attributes, such as another `call`, wherever they sit; their names stay.

    For tracing: no weight is touched, and nothing remains.

    Args:
        replacements: dict of layer -> dict of attribute -> value. A new `call` takes the arguments of the layer's own without
            `self`, and `type(layer).call(layer, ...)` in it computes what the layer does.
    """
    own = {layer: {name: vars(layer)[name] for name in values if name in vars(layer)} for layer, values in replacements.items()}
    try:
        for layer, values in replacements.items():
            for name, value in values.items():
                object.__setattr__(layer, name, value)  # past Keras' own, which would track it
        yield
    finally:
        for layer, values in replacements.items():
            for name in values:
                vars(layer).pop(name, None)
            vars(layer).update(own[layer])


def describe(layer):
    """How messages name a layer: `conv2d_3 (Conv2D)`."""
    return f"{layer.name} ({type(layer).__name__})"


def input_scaling(model):
    """The scaling layer that the model begins with, if any.

    Args:
        model: a Keras 3 or Keras 2 model.

    Returns:
        The first `Rescaling` or `Normalization` layer, where only input layers come before it, else None.
    """
    for layer in walk_layers(model):
        kind = type(layer).__name__
        if kind in ("Rescaling", "Normalization"):
            return layer
        if kind not in ("InputLayer", "Functional", "Sequential"):
            return None
    return None


def suspects(layers):
    """Layers to name if the converter dies: recurrent ones, which do kill it; else custom ones; else every kind there is."""
    recurrent = [layer for layer in layers if hasattr(layer, "return_sequences") or "RNN" in type(layer).__name__]
    custom = [layer for layer in layers if type(layer).__module__.partition(".")[0] not in ("keras", "tf_keras")]
    return [describe(layer) for layer in recurrent or custom] or sorted({type(layer).__name__ for layer in layers})
