"""The weights in an HDF5 file that Keras 1 or 2 wrote, and their way into a model: every array into one variable, by name."""

import dataclasses

import numpy as np

from tfopt.errors import LoadError
from tfopt.keras_model.walk import walk_layers
from tfopt.loading.h5 import keras1
from tfopt.loading.h5.weight_groups import damaged

# Layers whose kernels Theano applied mirrored, with the number of arrays that are kernels.
_CONVOLUTIONS = {
    "Conv1D": 1, "Conv2D": 1, "Conv3D": 1, "Conv2DTranspose": 1, "Conv3DTranspose": 1, "ConvLSTM2D": 2, "SeparableConv1D": 1,
    "SeparableConv2D": 1, "DepthwiseConv2D": 1,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Writer:
    """What of the writer matters to the layout of the weights.

    Attributes:
        is_keras_1: bool.
        is_theano: bool, whether Theano computed, whose convolutions mirror the kernel.
        channels_first: names of layers that were written with channels first.
        cudnn: names of layers that were CuDNNLSTM or CuDNNGRU.
        gone: names of classes that the user gave in place of a class of the file; their weights are taken as they are.
    """

    is_keras_1: bool = False
    is_theano: bool = False
    channels_first: frozenset = frozenset()
    cudnn: frozenset = frozenset()
    gone: frozenset = frozenset()


def assign(model, groups, path, writer=None, *, by_order=False):
    """Puts every array of the file into one variable of the model, and leaves none of either over.

    Args:
        model: Keras model of either generation.
        groups: dict, as `read_groups` gives it.
        path: of the file, for messages.
        writer: a `Writer`; Keras 2 with TensorFlow by default.
        by_order: bool. Whether layers with weights are matched in their order where names differ.

    Returns:
        int, how many arrays the file has.

    Raises:
        LoadError: a layer has no weights in the file or the file has weights for no layer, or their number or shapes differ.
    """
    writer = writer or Writer()
    pairs, left = [], dict(groups)
    _match(model, left, pairs, path)
    if (left or any(arrays is None for _, arrays in pairs)) and by_order:
        layers = [layer for layer in model.layers if layer.weights]
        if len(layers) != len(groups):
            raise LoadError(
                f"The architecture must have as many layers with weights as the file. Received: {path} with {len(groups)} "
                f"({', '.join(groups)}), and {len(layers)} in the architecture ({', '.join(layer.name for layer in layers)}). "
                "Give the function that built the model which was saved."
            )
        pairs, left = list(zip(layers, groups.values(), strict=True)), {}
    for layer, arrays in pairs:
        if arrays is None:
            raise damaged(path, f"no weights of layer {layer.name!r} ({type(layer).__name__}), which has {len(layer.weights)}")
    if left:
        raise damaged(path, f"weights of the layers {sorted(left)}, which the model does not have")
    values, seen = [], set()
    for layer, arrays in pairs:
        for variable, value in _values(layer, arrays, path, writer):
            if id(variable) in seen:
                raise damaged(path, f"weights of layer {layer.name!r} twice")
            seen.add(id(variable))
            values.append((variable, value))
    for variable, value in values:
        variable.assign(value)
    for variable, value in values:
        if not np.array_equal(np.asarray(variable), np.asarray(value).astype(np.asarray(variable).dtype), equal_nan=True):
            raise damaged(path, f"the weight {variable.name!r}, which did not arrive whole")
    for layer in walk_layers(model):
        if hasattr(layer, "finalize_state"):  # Normalization and its like compute with what follows from their weights
            layer.finalize_state()
    return sum(len(arrays) for arrays in groups.values())


def _match(model, left, pairs, path):
    for layer in model.layers:
        if not layer.weights:
            continue
        if layer.name in left:
            pairs.append((layer, left.pop(layer.name)))
        elif getattr(layer, "layers", None):  # Keras 1 has the layers of a nested Sequential in a row
            _match(layer, left, pairs, path)
        else:
            pairs.append((layer, None))


def _values(layer, arrays, path, writer):
    """Yields (variable, value) of one layer of the file, which may be a nested model or wrap others."""
    names, arrays = [name for name, _ in arrays], [array for _, array in arrays]
    variables = [*layer.trainable_weights, *layer.non_trainable_weights]
    leaves = list(_leaves(layer, set()))
    trainable = [variable for leaf in leaves for variable in leaf.trainable_weights]
    ordered = [*trainable, *(variable for leaf in leaves for variable in leaf.non_trainable_weights)]
    if [id(variable) for variable in ordered] != [id(variable) for variable in variables]:
        leaves = [layer]
    sizes = [_count(leaf, writer) for leaf in leaves]
    gates_apart = sum(size * len(leaf.weights) for size, leaf in zip(sizes, leaves, strict=True)) == len(arrays)
    sizes = sizes if gates_apart else [1] * len(leaves)
    if sum(size * len(leaf.weights) for size, leaf in zip(sizes, leaves, strict=True)) != len(arrays):
        raise damaged(
            path, f"{len(arrays)} weights of layer {layer.name!r}, which has {len(variables)} (in the file: {', '.join(names[:6])})"
        )
    position, parts = 0, {id(leaf): [] for leaf in leaves}
    for kind in ("trainable_weights", "non_trainable_weights"):
        for leaf, size in zip(leaves, sizes, strict=True):
            count = size * len(getattr(leaf, kind))
            parts[id(leaf)] += arrays[position : position + count]
            position += count
    for leaf in leaves:
        own = [*leaf.trainable_weights, *leaf.non_trainable_weights]
        converted = _converted(leaf, parts[id(leaf)], [tuple(variable.shape) for variable in own], writer)
        for variable, value in zip(own, converted, strict=True):
            if tuple(variable.shape) != tuple(value.shape):
                raise damaged(
                    path,
                    f"a weight of shape {tuple(value.shape)} for {leaf.name!r} ({type(leaf).__name__}), whose {variable.name!r} "
                    f"has the shape {tuple(variable.shape)}",
                )
            yield variable, value


def _leaves(layer, seen):
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


def _count(leaf, writer):
    return keras1.arrays_per_variable(type(leaf).__name__) if writer.is_keras_1 else 1


def _converted(leaf, arrays, shapes, writer):
    kind, name = type(leaf).__name__, leaf.name.removesuffix("_channels_last")
    if kind in writer.gone:
        return arrays
    if writer.is_keras_1:
        arrays = keras1.convert_arrays(kind, arrays, shapes, channels_first=name in writer.channels_first)
    if name.removeprefix("forward_").removeprefix("backward_") in writer.cudnn:
        arrays = _from_cudnn(kind, arrays)
    if writer.is_theano and kind in _CONVOLUTIONS:
        count = _CONVOLUTIONS[kind]
        arrays = [_mirrored(array) if index < count else array for index, array in enumerate(arrays)]
    return arrays


def _mirrored(kernel):
    return np.flip(kernel, tuple(range(kernel.ndim - 2)))


def _from_cudnn(kind, arrays):
    """cuDNN keeps each gate's kernels transposed, and two biases a gate, which an LSTM adds up and a GRU needs both of."""
    kernel, recurrent, bias = arrays
    gates = 4 if kind == "LSTM" else 3
    kernel = np.concatenate([part.ravel().reshape(part.shape[::-1]).T for part in np.split(kernel, gates, -1)], -1)
    recurrent = np.concatenate([part.T for part in np.split(recurrent, gates, -1)], -1)
    return [kernel, recurrent, sum(np.split(bias, 2)) if kind == "LSTM" else bias.reshape(2, -1)]
