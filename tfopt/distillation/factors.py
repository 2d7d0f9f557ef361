"""Splits a layer's kernel into two factors of low rank."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Kernel = npt.NDArray[np.float32]

CLASSES = ("Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D")


class Split(NamedTuple):
    """A kernel as a matrix, and the two layers that its factors belong to."""

    matrix: Kernel  # (product of `inner_shape`, product of `outer_shape`)
    inner_shape: tuple[int, ...]  # the axes of the kernel that are summed over
    outer_shape: tuple[int, ...]  # its other axes
    first: Callable[[int], keras.layers.Layer]  # makes the first layer from the rank
    second: Callable[[int], keras.layers.Layer]


class Factors(NamedTuple):
    """Two layers in place of one, with the values of their weights."""

    first: keras.layers.Layer
    second: keras.layers.Layer
    first_kernel: Kernel
    second_kernel: Kernel
    bias: Kernel | None  # of the second layer


def factors(layer: keras.layers.Layer, rank: int | float | None, energy: float | None) -> Factors | None:
    """Two layers of low rank in place of `layer`, a layer of one of `CLASSES`; None if they would not be cheaper.

    Args:
        layer: a built layer.
        rank, energy: as for `low_rank`.
    """
    halves = split(layer)
    if halves is None:
        return None
    matrix, inner_shape, outer_shape, first, second = halves
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    r = _choose(s, rank, energy)
    if r * sum(matrix.shape) >= matrix.size:
        return None
    inner, outer = (u[:, :r] * s[:r]).reshape(*inner_shape, r), v[:r].reshape(r, *outer_shape)
    if isinstance(layer, keras.layers.Conv1D | keras.layers.Conv2D | keras.layers.Conv3D):
        outer = outer.reshape(*[1] * len(layer.kernel_size), r, *outer_shape)
    bias = layer.bias.numpy() if layer.bias is not None else None
    return Factors(first(r), second(r), inner.astype("float32"), outer.astype("float32"), bias)


def split(layer: keras.layers.Layer) -> Split | None:
    """The kernel of `layer`, a layer of one of `CLASSES`, as a matrix; None if it is not one matrix."""
    kernel, config = layer.kernel.numpy(), layer.get_config()
    plain: dict[str, Any] = {"activation": None, "bias_regularizer": None, "activity_regularizer": None, "bias_constraint": None}
    if "use_bias" in config:
        plain["use_bias"] = False
    first = {**config, **plain, "name": f"{layer.name}_in", "kernel_initializer": "zeros"}
    second = {**config, "kernel_initializer": "zeros"}
    kind = type(layer)
    if kind.__name__ == "Dense":
        make_first = _maker(kind, first, "units")
        return Split(kernel, kernel.shape[:1], kernel.shape[1:], make_first, _maker(kind, second))
    if kind.__name__ == "EinsumDense":
        return _split_einsum(layer, kernel, first, second)
    if config["groups"] != 1:
        return None
    ones = [1] * len(config["kernel_size"])
    second |= {"kernel_size": ones, "strides": ones, "dilation_rate": ones, "padding": "valid"}
    matrix = kernel.reshape(-1, kernel.shape[-1])
    return Split(matrix, kernel.shape[:-1], kernel.shape[-1:], _maker(kind, first, "filters"), _maker(kind, second))


def _split_einsum(
    layer: keras.layers.EinsumDense, kernel: Kernel, first: Mapping[str, Any], second: Mapping[str, Any]
) -> Split | None:
    incoming, _, rest = layer.equation.replace(" ", "").partition(",")
    letters, _, outgoing = rest.partition("->")
    contracted = [letter for letter in letters if letter in incoming and letter not in outgoing]
    new = [letter for letter in letters if letter in outgoing and letter not in incoming]
    if len(contracted) + len(new) < len(letters):
        return None  # inputs, kernel and outputs share a letter: there is a kernel for each of its values
    kernel = kernel.transpose([letters.index(letter) for letter in (*contracted, *new)])
    inner_shape, outer_shape = kernel.shape[: len(contracted)], kernel.shape[len(contracted) :]
    inside = next(letter for letter in "zyxwvutsrqponm" if letter not in incoming + letters + outgoing)
    kept = "".join(letter for letter in incoming if letter not in contracted)
    # The output shape of EinsumDense leaves out the batch, which is an ellipsis or the first letter.
    free = [None] * (len(kept) - (3 if "..." in kept else 1))
    kind = type(layer)

    def make_first(r: int) -> keras.layers.Layer:
        equation = f"{incoming},{''.join(contracted)}{inside}->{kept}{inside}"
        return kind.from_config({**first, "equation": equation, "output_shape": [*free, r], "bias_axes": None})

    second = {**second, "equation": f"{kept}{inside},{inside}{''.join(new)}->{outgoing}"}
    matrix = kernel.reshape(math.prod(inner_shape), -1)
    return Split(matrix, inner_shape, outer_shape, make_first, _maker(kind, second))


def _maker(
    kind: type[keras.layers.Layer], config: Mapping[str, Any], rank_name: str | None = None
) -> Callable[[int], keras.layers.Layer]:
    """A function that makes a layer from a rank, which is the argument `rank_name` of the layer, if there is one."""
    return lambda r: kind.from_config({**config, **({rank_name: r} if rank_name else {})})


def _choose(singular: npt.NDArray[np.float32], rank: int | float | None, energy: float | None) -> int:
    """The rank, from 1 to the number of singular values."""
    if energy is not None:
        share = np.cumsum(singular**2) / max(np.sum(singular**2), np.finfo("float32").tiny)
        return min(int(np.searchsorted(share, energy)) + 1, len(singular))
    assert rank is not None  # one of the two is given
    return max(1, min(rank if isinstance(rank, int) else round(rank * len(singular)), len(singular)))
