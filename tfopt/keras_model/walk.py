"""Walk the layers, the operations and the weights of a Keras model of either generation."""

import dataclasses
import sys


def shipped_model(model):
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
        return layer_path(self.layers)

    @property
    def kind(self):
        """The variable's own name, such as `kernel`."""
        return self.variable.name.rpartition("/")[2].partition(":")[0]

    @property
    def name(self):
        """Layers and own name, such as `encoder/dense_1/kernel`."""
        return f"{self.layer_name}/{self.kind}"


def layer_path(layers):
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


def own_keras(model):
    """The package that made a model, `keras` or `tf_keras`; it is loaded, as the model is there."""
    roots = [each.__module__.partition(".")[0] for each in type(model).__mro__]
    return sys.modules[next(root for root in roots if root in ("keras", "tf_keras"))]
