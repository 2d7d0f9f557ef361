"""The same model with other outputs: logits instead of probabilities, the parts of a concatenation instead of the whole."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from tfopt.errors import ArgumentError
from tfopt.keras_model.copy import copy_model
from tfopt.keras_model.describe import describe
from tfopt.keras_model.kinds import is_keras_2, layer_kind, operation_kind
from tfopt.keras_model.requirements import require_built

if TYPE_CHECKING:
    from tfopt.keras_model.types import AnyLayer, AnyModel

_SQUASHING = ("softmax", "sigmoid")

# Layers that compute their activation last, on what they would return without it.
_ACTIVATED = (
    "Activation", "Conv1D", "Conv1DTranspose", "Conv2D", "Conv2DTranspose", "Conv3D", "Conv3DTranspose", "Dense", "DepthwiseConv1D",
    "DepthwiseConv2D", "EinsumDense", "SeparableConv1D", "SeparableConv2D",
)  # fmt: skip

_Output: TypeAlias = tuple[str, Any]
"""(name, symbolic tensor)."""


def without_last_activation(model: AnyModel, names: Sequence[str]) -> tuple[AnyModel, tuple[str, ...]]:
    """A model whose outputs are logits: those of `model` before their last softmax or sigmoid.

    Example:

    ```python
    logits, notes = without_last_activation(classifier, ["digit"])  # output "digit" becomes "digit_logits"
    ```

    Args:
        model: a built Functional or Sequential model of either Keras generation; it stays as it is.
        names: of its outputs, in its order; the outputs in a dict are in the order of its sorted keys.

    Returns:
        (new model, a note for each output that changed). An output `y` that changed has the name `y_logits`.

    Raises:
        ArgumentError: no output is computed by a softmax or sigmoid, or the model has no graph.
    """
    required = "`logits` needs an output that a Softmax layer, or a softmax or sigmoid activation, computes"
    return _with_outputs(model, names, _logits, required)


def split_concatenations(model: AnyModel, names: Sequence[str]) -> tuple[AnyModel, tuple[str, ...]]:
    """A model that returns the inputs of its last Concatenate layers as outputs of their own, each with a scale of its own.

    Example:

    ```python
    detector, notes = split_concatenations(detector, ["found"])  # output "found" becomes "found_boxes" and "found_scores"
    ```

    Args:
        model: a built Functional or Sequential model of either Keras generation; it stays as it is.
        names: of its outputs, in its order; the outputs in a dict are in the order of its sorted keys.

    Returns:
        (new model, a note for each output that changed). A part of output `y` that layer `z` computes has the name `y_z`.

    Raises:
        ArgumentError: no output is computed by a Concatenate layer, or the model has no graph.
    """
    return _with_outputs(model, names, _parts, "`split_outputs` needs an output that a Concatenate layer computes")


def as_in_file(model: AnyModel, names: Sequence[str], wanted: Sequence[str]) -> AnyModel:
    """The form of a model that a file was made of: changed by the functions above if that gives its outputs the file's names.

    Args:
        model: a model of either Keras generation.
        names: of its outputs, as above.
        wanted: names of the outputs of the file.

    Returns:
        `model` itself, unless another form has the outputs that are wanted.
    """
    if list(names) == list(wanted) or not any(each.startswith(f"{name}_") for name in names for each in wanted):
        return model
    for changes in ((without_last_activation,), (split_concatenations,), (split_concatenations, without_last_activation)):
        made, own = model, list(names)
        try:
            for change in changes:
                made, _ = change(made, own)
                own = list(made.output_names)
        except ArgumentError:  # the model has no such end, so that the file was not made in this way
            continue
        if own == list(wanted):
            return made
    return model


def _with_outputs(
    model: AnyModel, names: Sequence[str], change: Callable[[str, Any], tuple[list[_Output], str] | None], required: str
) -> tuple[AnyModel, tuple[str, ...]]:
    require_built(model)
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise ArgumentError(
            f"{required}, in a Functional or Sequential model. Received: {describe(model)}, whose graph is unknown."
        )
    outputs: list[_Output] = []
    notes: list[str] = []
    copy = copy_model(model)  # Keras notes in a layer each call of it
    structure = getattr(copy, "output", None)  # a Sequential model that was not called has none
    # The names of outputs in a dict are in the order of the sorted keys.
    ordered = [structure[key] for key in sorted(structure)] if isinstance(structure, dict) else copy.outputs
    for name, tensor in zip(names, ordered, strict=True):
        changed = change(name, tensor)
        outputs += changed[0] if changed else [(name, tensor)]
        notes += [changed[1]] if changed else []
    if not notes:
        ends = ", ".join(describe(_producer(tensor)[0]) for tensor in ordered)
        raise ArgumentError(f"{required}. Received: outputs of {ends}. Leave it out, or change the Keras model.")
    tensors = [tensor for _, tensor in outputs]
    keras = sys.modules["tf_keras" if is_keras_2(model) else "keras"]
    made = keras.Model(copy.inputs, tensors[0] if len(tensors) == 1 else tensors, name=model.name)
    made.output_names = [name for name, _ in outputs]
    return made, tuple(notes)


def _logits(name: str, tensor: Any) -> tuple[list[_Output], str] | None:
    layer, inputs = _producer(tensor)
    kind = layer_kind(layer) or operation_kind(layer)
    activation = getattr(getattr(layer, "activation", None), "__name__", "")
    if kind in ("Softmax", "Sigmoid") and len(inputs) == 1:
        removed, before = kind.lower(), inputs[0]
    elif kind in _ACTIVATED and activation in _SQUASHING and len(inputs) == 1:
        removed, before = activation, inputs[0] if kind == "Activation" else _linear(layer, inputs[0])
    else:
        return None
    note = f"output {name!r} is left without its {removed}: {name + '_logits'!r} holds logits, to which {removed} is still to apply"
    return [(f"{name}_logits", before)], note


def _linear(layer: AnyLayer, tensor: Any) -> Any:
    """What a layer computes without its activation, by a layer with the same weights."""
    twin = type(layer).from_config({**layer.get_config(), "activation": None})
    output = twin(tensor)
    twin.set_weights(layer.get_weights())
    return output


def _parts(name: str, tensor: Any) -> tuple[list[_Output], str] | None:
    layer, inputs = _producer(tensor)
    if (layer_kind(layer) or operation_kind(layer)) != "Concatenate" or len(inputs) < 2 or layer.axis == 0:
        return None
    names = list(_unique(f"{name}_{_producer(each)[0].name}" for each in inputs))
    note = f"output {name!r} is split: {', '.join(map(repr, names))} are to be concatenated along axis {layer.axis}"
    return list(zip(names, inputs, strict=True)), note


def _unique(names: Iterator[str]) -> Iterator[str]:
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name}_{seen[name]}"


def _producer(tensor: Any) -> tuple[Any, list[Any]]:
    """(the layer or operation that computes a symbolic tensor, the tensors that it takes)."""
    history = tensor._keras_history  # there is no public way (Keras 3.15, tf_keras 2.21)
    layer = history.layer if hasattr(history, "layer") else history.operation
    node = layer._inbound_nodes[history.node_index]
    return layer, list(node.keras_inputs if hasattr(node, "keras_inputs") else node.input_tensors)
