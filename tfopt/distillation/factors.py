"""Split a layer's kernel into two factors of low rank."""

import math

import keras
import numpy as np

CLASSES = ("Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D")


def factors(layer, rank, energy):
    """(first layer, second layer, (kernel of the first, kernel of the second, bias or None)) where that is cheaper, else None."""
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
    return first(r), second(r), (inner.astype("float32"), outer.astype("float32"), bias)


def split(layer):
    """(kernel as a matrix, shapes of its two sides, functions from a rank to the first and to the second layer), or None."""
    kernel, config = layer.kernel.numpy(), layer.get_config()
    plain = {"activation": None, "bias_regularizer": None, "activity_regularizer": None, "bias_constraint": None}
    if "use_bias" in config:
        plain["use_bias"] = False
    first = {**config, **plain, "name": f"{layer.name}_in", "kernel_initializer": "zeros"}
    second = {**config, "kernel_initializer": "zeros"}
    kind = type(layer)
    if kind.__name__ == "Dense":
        return kernel, kernel.shape[:1], kernel.shape[1:], lambda r: kind.from_config({**first, "units": r}), _maker(kind, second)
    if kind.__name__ == "EinsumDense":
        return _split_einsum(layer, kernel, first, second)
    if config["groups"] != 1:
        return None
    ones = [1] * len(config["kernel_size"])
    second |= {"kernel_size": ones, "strides": ones, "dilation_rate": ones, "padding": "valid"}
    matrix = kernel.reshape(-1, kernel.shape[-1])
    return matrix, kernel.shape[:-1], kernel.shape[-1:], lambda r: kind.from_config({**first, "filters": r}), _maker(kind, second)


def _split_einsum(layer, kernel, first, second):
    incoming, _, rest = layer.equation.replace(" ", "").partition(",")
    letters, _, outgoing = rest.partition("->")
    contracted = [letter for letter in letters if letter in incoming and letter not in outgoing]
    new = [letter for letter in letters if letter in outgoing and letter not in incoming]
    if len(contracted) + len(new) < len(letters):
        return None  # a letter that all three have: a kernel for each
    kernel = kernel.transpose([letters.index(letter) for letter in (*contracted, *new)])
    inner_shape, outer_shape = kernel.shape[: len(contracted)], kernel.shape[len(contracted) :]
    inside = next(letter for letter in "zyxwvutsrqponm" if letter not in incoming + letters + outgoing)
    kept = "".join(letter for letter in incoming if letter not in contracted)
    # The shape that EinsumDense is given leaves out the batch: an ellipsis, or the first letter.
    free = [None] * (len(kept) - (3 if "..." in kept else 1))
    kind = type(layer)

    def make_first(r):
        equation = f"{incoming},{''.join(contracted)}{inside}->{kept}{inside}"
        return kind.from_config({**first, "equation": equation, "output_shape": [*free, r], "bias_axes": None})

    second = {**second, "equation": f"{kept}{inside},{inside}{''.join(new)}->{outgoing}"}
    return kernel.reshape(math.prod(inner_shape), -1), inner_shape, outer_shape, make_first, _maker(kind, second)


def _maker(kind, config):
    return lambda r: kind.from_config(config)


def _choose(singular, rank, energy):
    if energy is not None:
        share = np.cumsum(singular**2) / max(np.sum(singular**2), np.finfo("float32").tiny)
        return int(min(np.searchsorted(share, energy) + 1, len(singular)))
    return max(1, min(rank if isinstance(rank, int) else round(rank * len(singular)), len(singular)))
