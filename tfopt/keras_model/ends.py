"""The ends of a model: the scaling that it begins with and the layers that make its outputs."""

from tfopt.keras_model.walk import walk_layers, walk_weights


def output_layers(model):
    """The layers with weights of rank 2 or more that make `model`'s outputs: from each output back to the first one.

    Args:
        model: a Keras 3 or Keras 2 model that is built. Of a subclassed one, whose graph is not known, the last layer counts.
    """
    outputs = _flat(getattr(model, "outputs", None) or [])
    if not outputs:
        last = [weight.layers[-1] for weight in walk_weights(model) if len(weight.variable.shape) >= 2]
        return last[-1:]
    found = []
    producers = {id(tensor): operation for operation in _operations(model) for tensor in _tensors_of(operation, "output")}
    for tensor in outputs:
        operation = producers.get(id(tensor))
        while operation is not None and all(len(weight.shape) < 2 for weight in getattr(operation, "weights", ())):
            inputs = _tensors_of(operation, "input")
            operation = producers.get(id(inputs[0])) if inputs else None
        if operation is not None:
            found += output_layers(operation) if getattr(operation, "outputs", None) else [operation]
    return found


def _operations(model):
    import keras

    if isinstance(model, keras.Sequential):
        return keras.Function(model.inputs, model.outputs).operations
    return getattr(model, "operations", None) or model.layers


def _tensors_of(operation, side):
    try:
        return _flat(getattr(operation, side))
    except (AttributeError, ValueError, RuntimeError):  # called several times, or never
        return []


def _flat(value):
    if isinstance(value, dict):
        return [each for inner in value.values() for each in _flat(inner)]
    return [each for inner in value for each in _flat(inner)] if isinstance(value, list | tuple) else [value]


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
