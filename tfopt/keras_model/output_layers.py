"""Find the layers that make the outputs of a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tfopt.keras_model.weights import walk_weights

if TYPE_CHECKING:
    import keras

    from tfopt.keras_model.types import AnyLayer, AnyModel, AnyTensor


def find_output_layers(model: AnyModel) -> list[AnyLayer]:
    """The layers that make the outputs of a model: going back from each output, the first layer with weights of rank 2 or more.

    Args:
        model: a built model. The graph of a subclassed model is not known, so its last layer with such weights is returned.
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
            found += find_output_layers(operation) if getattr(operation, "outputs", None) else [operation]
    return found


def _operations(model: AnyModel) -> Iterable[AnyLayer | keras.Operation]:
    import keras

    if isinstance(model, keras.Sequential):
        return keras.Function(model.inputs, model.outputs).operations
    return getattr(model, "operations", None) or model.layers


def _tensors_of(operation: AnyLayer | keras.Operation, side: str) -> list[AnyTensor]:
    try:
        return _flat(getattr(operation, side))
    except (AttributeError, ValueError, RuntimeError):  # called several times, or never
        return []


def _flat(value: Any) -> list[AnyTensor]:
    if isinstance(value, dict):
        return [each for inner in value.values() for each in _flat(inner)]
    return [each for inner in value for each in _flat(inner)] if isinstance(value, list | tuple) else [value]
