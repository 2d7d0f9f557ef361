"""How messages name layers, and what they ask of a model."""

from tfopt import errors


def require_built(model):
    """Raises unless `model` is a Keras model, of either generation, that has its weights."""
    if not hasattr(type(model), "weights") or not hasattr(model, "built"):
        raise errors.ArgumentError(
            "the model must be a Keras model; tfopt.load(path) reads one from a file. "
            f"Received: {type(model).__name__} {model!r:.60}."
        )
    if not model.built:
        raise errors.ArgumentError(
            f"the model must be built, so that it has weights. Received: {describe(model)}, which is not. Give it an Input, or "
            "call it on a batch."
        )


def describe(layer):
    """How messages name a layer: `conv2d_3 (Conv2D)`."""
    return f"{layer.name} ({type(layer).__name__})"


def crash_suspects(layers):
    """Layers to name if the converter dies: recurrent ones, which do kill it; else custom ones; else every kind there is."""
    recurrent = [layer for layer in layers if hasattr(layer, "return_sequences") or "RNN" in type(layer).__name__]
    custom = [layer for layer in layers if type(layer).__module__.partition(".")[0] not in ("keras", "tf_keras")]
    return [describe(layer) for layer in recurrent or custom] or sorted({type(layer).__name__ for layer in layers})
