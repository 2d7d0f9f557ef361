"""Walk the layers and the operations of a Keras model of either generation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

    from tfopt.keras_model.types import AnyLayer, AnyModel


def walk_layers(model: AnyModel) -> Iterator[AnyLayer]:
    """Yields the layers of a model depth first, each once, including the layers of nested models and wrapped layers.

    Layers that a custom layer holds in attributes of its own are not found; `sublayers` finds them.
    """
    seen = set()

    def walk(layer: AnyLayer) -> Iterator[AnyLayer]:
        if id(layer) in seen:
            return
        seen.add(id(layer))
        children = [*getattr(layer, "layers", ()), *_wrapped(layer)]
        if layer is not model:
            yield layer
        for child in children:
            yield from walk(child)

    yield from walk(model)


def walk_operations(model: AnyModel) -> Iterator[keras.Operation]:
    """Yields each operation that a Functional Keras 3 model computes outside its layers, such as `keras.ops.add`, once."""
    import keras

    for each in (model, *walk_layers(model)):
        operations = getattr(each, "operations", ())
        if isinstance(each, keras.Sequential) and getattr(each, "built", False) and each.inputs:
            operations = keras.Function(each.inputs, each.outputs).operations  # a Sequential model does not show its own
        for operation in operations:
            if not hasattr(operation, "weights"):
                yield operation


def sublayers(layer: AnyLayer) -> list[AnyLayer]:
    """The layers that a layer or model holds in its attributes, or in lists and dicts there, each once."""
    found = {}

    def look(value: Any) -> None:
        if all(hasattr(value, name) for name in ("call", "weights", "get_config")):
            found[id(value)] = value
        elif isinstance(value, list | tuple):
            for each in value:
                look(each)
        elif isinstance(value, dict):
            for each in value.values():
                look(each)

    look(getattr(layer, "layers", None))  # a model's own order
    for value in vars(layer).values():  # Keras has no public list of the layers in a layer
        look(value)
    found.pop(id(layer), None)
    return list(found.values())


def _wrapped(layer: AnyLayer) -> Iterator[AnyLayer]:
    yield from getattr(layer, "cells", ())
    # `Bidirectional` runs two copies of its `layer`, not that layer itself.
    own = ("forward_layer", "backward_layer") if hasattr(layer, "forward_layer") else ("layer", "cell")
    for name in own:
        child = getattr(layer, name, None)
        if hasattr(child, "get_config"):
            yield child
