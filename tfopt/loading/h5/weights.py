"""The weights in an HDF5 file, assigned to the variables of a model: every array to one variable, by name."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tfopt.errors import LoadError
from tfopt.keras_model.walk import walk_layers
from tfopt.loading.h5 import layouts
from tfopt.loading.h5.layouts import KERAS_2, Writer
from tfopt.loading.h5.weight_groups import Array, Group, damaged


def assign(model: Any, groups: Mapping[str, Group], path: pathlib.Path, writer: Writer = KERAS_2, *, by_order: bool = False) -> int:
    """Assigns every array of the file to one variable of the model, so that no array and no variable is left over.

    Example: `assign(model, read_groups(path), path)`

    Args:
        model: Keras model of either generation.
        groups: as `read_groups` returns them.
        path: of the file, for messages.
        writer: of the file.
        by_order: whether layers with weights are matched by their order if their names differ.

    Returns:
        The number of arrays in the file.

    Raises:
        LoadError: a layer has no weights in the file, weights in the file have no layer, or their number or shapes differ.
    """
    left = dict(groups)
    pairs = list(_match(model, left))
    if (left or any(arrays is None for _, arrays in pairs)) and by_order:
        layers = [layer for layer in model.layers if layer.weights]
        if len(layers) != len(groups):
            raise LoadError(
                f"The architecture must have as many layers with weights as the file. Received: {path} with {len(groups)} "
                f"({', '.join(groups)}), and {len(layers)} in the architecture ({', '.join(layer.name for layer in layers)}). "
                "Give the function that built the saved model."
            )
        pairs, left = list(zip(layers, groups.values(), strict=True)), {}
    for layer, arrays in pairs:
        if arrays is None:
            raise damaged(path, f"no weights of layer {layer.name!r} ({type(layer).__name__}), which has {len(layer.weights)}")
    if left:
        raise damaged(path, f"weights of the layers {sorted(left)}, which the model does not have")
    values: list[tuple[Any, Array]] = []
    seen: set[int] = set()
    for layer, arrays in pairs:
        for variable, value in _values(layer, arrays or [], path, writer):
            if id(variable) in seen:
                raise damaged(path, f"weights of layer {layer.name!r} twice")
            seen.add(id(variable))
            values.append((variable, value))
    for variable, value in values:
        variable.assign(value)
    for variable, value in values:
        if not np.array_equal(np.asarray(variable), np.asarray(value).astype(np.asarray(variable).dtype), equal_nan=True):
            raise damaged(path, f"the weight {variable.name!r}, which changed on its way into the model")
    for layer in walk_layers(model):
        if hasattr(layer, "finalize_state"):  # as in Normalization, which computes with numbers derived from its weights
            layer.finalize_state()
    return sum(len(arrays) for arrays in groups.values())


def _match(model: Any, left: dict[str, Group]) -> Iterator[tuple[Any, Group | None]]:
    """Yields each layer with its arrays, which are taken out of `left`; None for a layer that the file does not have."""
    for layer in model.layers:
        if not layer.weights:
            continue
        if layer.name in left:
            yield layer, left.pop(layer.name)
        elif getattr(layer, "layers", None):  # Keras 1 lists the layers of a nested Sequential beside the others
            yield from _match(layer, left)
        else:
            yield layer, None


def _values(layer: Any, group: Group, path: pathlib.Path, writer: Writer) -> Iterator[tuple[Any, Array]]:
    """Yields (variable, value) of one layer of the file, which may be a nested model or a wrapper of other layers."""
    names, arrays = [name for name, _ in group], [array for _, array in group]
    variables = [*layer.trainable_weights, *layer.non_trainable_weights]
    leaves = list(_leaves(layer, set()))
    trainable = [variable for leaf in leaves for variable in leaf.trainable_weights]
    ordered = [*trainable, *(variable for leaf in leaves for variable in leaf.non_trainable_weights)]
    if [id(variable) for variable in ordered] != [id(variable) for variable in variables]:
        leaves = [layer]
    sizes = [layouts.arrays_per_variable(leaf, writer) for leaf in leaves]
    gates_apart = sum(size * len(leaf.weights) for size, leaf in zip(sizes, leaves, strict=True)) == len(arrays)
    sizes = sizes if gates_apart else [1] * len(leaves)
    if sum(size * len(leaf.weights) for size, leaf in zip(sizes, leaves, strict=True)) != len(arrays):
        raise damaged(
            path, f"{len(arrays)} weights of layer {layer.name!r}, which has {len(variables)} (in the file: {', '.join(names[:6])})"
        )
    position = 0
    parts: dict[int, list[Array]] = {id(leaf): [] for leaf in leaves}
    for kind in ("trainable_weights", "non_trainable_weights"):
        for leaf, size in zip(leaves, sizes, strict=True):
            count = size * len(getattr(leaf, kind))
            parts[id(leaf)] += arrays[position : position + count]
            position += count
    for leaf in leaves:
        own = [*leaf.trainable_weights, *leaf.non_trainable_weights]
        try:
            converted = layouts.convert(leaf, parts[id(leaf)], writer)
        except (ValueError, IndexError) as error:  # NumPy cannot split or transpose arrays of other shapes
            raise damaged(path, f"weights of layer {leaf.name!r} ({type(leaf).__name__}) in other shapes ({error})") from error
        for variable, value in zip(own, converted, strict=True):
            if tuple(variable.shape) != tuple(value.shape):
                raise damaged(
                    path,
                    f"a weight of shape {tuple(value.shape)} for {leaf.name!r} ({type(leaf).__name__}), whose {variable.name!r} "
                    f"has the shape {tuple(variable.shape)}",
                )
            yield variable, value


def _leaves(layer: Any, seen: set[int]) -> Iterator[Any]:
    """Yields the layers inside a nested model or a wrapper, each once; a layer that has none is its own leaf."""
    if id(layer) in seen:
        return
    seen.add(id(layer))
    if getattr(layer, "layers", None):
        children = layer.layers
    elif hasattr(layer, "forward_layer"):
        children = [layer.forward_layer, layer.backward_layer]
    elif type(layer).__name__ == "TimeDistributed":
        children = [layer.layer]
    else:
        yield layer
        return
    for child in children:
        yield from _leaves(child, seen)
