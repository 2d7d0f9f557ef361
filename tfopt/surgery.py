"""Walk a Keras model, of either generation, and select from it, without editing it."""

import contextlib
import dataclasses
import difflib
import fnmatch

from tfopt import errors


def shipped(model):
    """The model that is going to be used once `model` is trained: the `student` of a distiller, otherwise itself."""
    return getattr(model, "student", model)


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


@dataclasses.dataclass(frozen=True)
class Weight:
    """A variable of a model and the layers around it, from the outermost to the one that owns it."""

    variable: object
    layers: tuple

    @property
    def layer_name(self):
        """Names of the layers around it, such as `encoder/dense_1`."""
        return path(self.layers)

    @property
    def kind(self):
        """The variable's own name, such as `kernel`."""
        return self.variable.name.rpartition("/")[2].partition(":")[0]

    @property
    def name(self):
        """Layers and own name, such as `encoder/dense_1/kernel`."""
        return f"{self.layer_name}/{self.kind}"


def path(layers):
    """Names of layers from the outside in, joined by `/`. A wrapper with the name of the layer in it is left out."""
    inner = (*layers[1:], None)
    return "/".join(
        layer.name
        for layer, child in zip(layers, inner, strict=True)
        if child is None or getattr(layer, "layer", None) is not child or layer.name != child.name
    )


def walk_weights(model):
    """Yields each variable of `model` once, as a `Weight`: those of nested models, wrappers, cells and custom layers too.

    Args:
        model: a Keras 3 or Keras 2 model that is built.
    """
    seen = set()

    def walk(layer, around):
        if id(layer) in seen:
            return
        seen.add(id(layer))
        children = sublayers(layer)
        inner = {id(variable) for child in children for variable in child.weights}
        for child in children:
            yield from walk(child, (*around, child))
        for variable in layer.weights:
            if id(variable) not in inner and id(variable) not in seen:
                seen.add(id(variable))
                yield Weight(variable, around or (model,))

    yield from walk(model, ())


def sublayers(layer):
    """The layers that `layer` holds in its attributes, or in lists and dicts there, each once.

    Args:
        layer: a Keras 3 or Keras 2 layer or model.
    """
    found = {}

    def look(value):
        if all(hasattr(value, name) for name in ("call", "weights", "get_config")):
            found[id(value)] = value
        elif isinstance(value, list | tuple):
            for each in value:
                look(each)
        elif isinstance(value, dict):
            for each in value.values():
                look(each)

    look(getattr(layer, "layers", None))  # a model's own order
    for value in vars(layer).values():  # Keras gives no public list of the layers in a layer
        look(value)
    found.pop(id(layer), None)
    return list(found.values())


def select(weights, include, exclude):
    """Which weights are asked for, by the layers around them.

    Args:
        weights: list of `Weight`.
        include, exclude: None, or one or a list of: a glob of a layer's name or of its path (`encoder/dense_*`), a layer class,
            a function of a layer that returns a bool.

    Returns:
        (set of ids of the weights that `include` matches, the same for `exclude`).

    Raises:
        ArgumentError: one of them matches nothing.
    """
    chosen = []
    for argument, patterns in (("include", include), ("exclude", exclude)):
        matched = set()
        patterns = [] if patterns is None else patterns if isinstance(patterns, list | tuple | set) else [patterns]
        for pattern in patterns:
            found = {id(weight) for weight in weights if _matches(argument, pattern, weight.layers)}
            if not found:
                names = sorted({layer.name for weight in weights for layer in weight.layers})
                close = difflib.get_close_matches(pattern, names, cutoff=0.4) if isinstance(pattern, str) else []
                raise errors.ArgumentError(
                    f"{argument} must match layers that have weights. Received: {argument}={pattern!r}, which matches none. "
                    f"{'Closest' if close else 'There are'}: {', '.join(close or names[:20])}."
                )
            matched |= found
        chosen.append(matched)
    return tuple(chosen)


@dataclasses.dataclass(frozen=True)
class _Place:
    layers: tuple


def left_out(model, include, exclude):
    """ids of the layers that `include` and `exclude` leave out, whether or not they have weights.

    Args:
        model: a Keras 3 or Keras 2 model.
        include, exclude: as for `select`.
    """
    places = []

    def walk(layer, around):
        for inner in sublayers(layer):
            places.append(_Place((*around, inner)))
            walk(inner, places[-1].layers)

    walk(model, ())
    included, excluded = select(places, include, exclude)
    return {
        id(place.layers[-1]) for place in places if id(place) in excluded or (include is not None and id(place) not in included)
    }


def _matches(argument, pattern, layers):
    if isinstance(pattern, str):
        names = [layer.name for layer in layers]
        paths = [path(layers[: end + 1]) for end in range(len(names))]
        return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for name in (*names, *paths))
    if isinstance(pattern, type):
        return any(isinstance(layer, pattern) for layer in layers)
    if callable(pattern):
        return any(pattern(layer) for layer in layers)
    raise errors.ArgumentError(
        f"{argument} takes globs of layer names, layer classes and functions of a layer. Received: {argument}={pattern!r}."
    )


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


def copy_model(model):
    """A second model with the same layers and weights; not compiled.

    Args:
        model: a built Keras 3 model. A subclassed one must have `get_config` (and `from_config`).

    Raises:
        ArgumentError: the model or one of its layers cannot be made again from its configuration.
    """
    import keras

    try:
        if isinstance(model, keras.Sequential) or getattr(model, "operations", None):
            copy = keras.models.clone_model(model)
        else:
            copy = type(model).from_config(model.get_config())
            copy.build_from_config(model.get_build_config())
    except (NotImplementedError, TypeError, ValueError) as error:
        raise errors.ArgumentError(
            f"the model must be one that its configuration can make again: its own layers and classes need `get_config`. "
            f"Received: {describe(model)}: {(str(error).strip().splitlines() or [type(error).__name__])[0]}"
        ) from error
    values = model.get_weights()
    if len(copy.get_weights()) != len(values):
        raise errors.ArgumentError(
            f"the model must be one that its configuration can make again with all weights. Received: {describe(model)}, whose "
            f"copy has {len(copy.get_weights())} of {len(values)}. Create weights in __init__ or build()."
        )
    copy.set_weights(values)
    return copy


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
