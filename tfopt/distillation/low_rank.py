"""`low_rank`: a smaller model to start from, whose large kernels are products of two thin ones."""

import dataclasses
import math

import keras
import numpy as np

from tfopt import surgery
from tfopt.errors import ArgumentError
from tfopt.replay import Graph, is_functional

_CLASSES = ("Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D")


def low_rank(model, rank=None, *, energy=None, include=None, exclude=None):
    """Returns a new plain model in which a kernel is the product of two: fewer weights and fewer multiplications.

    `W ~ (U_r S_r) V_r`, the nearest of rank `r` (singular value decomposition). A Dense becomes two, a convolution one of the same
    size to `r` channels and one of size 1. Only layers that get cheaper by it change; the second has the name, bias and activation
    of the old one, the first is named `NAME_in`. Train the model afterwards, best with a `Distiller` and the old model as teacher.

    Example:

    ```python
    small = tfopt.low_rank(model, energy=0.9)
    print(tfopt.low_rank_report(model, small))
    ```

    Args:
        model: a Functional or Sequential Keras 3 model; it stays as it is.
        rank: int >= 1, the `r` of all layers, or float in (0, 1), a fraction of the largest rank that a layer could have.
        energy: float in (0, 1), instead of it: `r` is the least with `sum_{i <= r} s_i^2 >= energy sum s_i^2`.
        include, exclude: as for `PruningCallback`; by default all Dense, EinsumDense and Conv layers without groups.

    Returns:
        keras.Model.

    Raises:
        ArgumentError: neither or both of `rank` and `energy`, a selector that matches nothing, or no layer that gets cheaper.

    Source: Denton et al., Exploiting linear structure within convolutional networks, arXiv:1404.0736.
    """
    _check(model, rank, energy)
    left_out = surgery.left_out(model, include, exclude)
    changed = []
    made = _rebuild(model, rank, energy, left_out, changed)
    if not changed:
        raise ArgumentError(
            f"there must be layers that get cheaper at rank={rank}, energy={energy}. Received: none among the "
            f"{', '.join(_CLASSES)} layers that were asked for. Ask for a lower rank or energy."
        )
    return made


@dataclasses.dataclass(frozen=True)
class LowRankRow:
    """What became of a layer.

    Attributes:
        name: str, of the layer.
        rank: int.
        error: float, `||W - W_r|| / ||W||`, the Frobenius norm; of the weights as they are now.
        weights: pair of ints, before and after, biases left out.
        macs: pair of ints, multiplications of a sample before and after; None where sizes are open.
    """

    name: str
    rank: int
    error: float
    weights: tuple
    macs: tuple | None


@dataclasses.dataclass(frozen=True)
class LowRankReport:
    """What `low_rank` made of a model; `print` shows it as a table.

    Attributes:
        rows: tuple of `LowRankRow`.
    """

    rows: tuple

    def __str__(self):
        lines = [f"{'layer':24}{'rank':>6}{'error':>9}{'weights':>20}{'MACs':>26}"]
        for row in self.rows:
            macs = f"{row.macs[0]:,} -> {row.macs[1]:,}" if row.macs else "open"
            lines.append(f"{row.name:24}{row.rank:>6}{row.error:>9.4f}{f'{row.weights[0]:,} -> {row.weights[1]:,}':>20}{macs:>26}")
        known = [row.macs for row in self.rows if row.macs]
        total = f"{sum(each[0] for each in known):,} -> {sum(each[1] for each in known):,}"
        weights = [sum(row.weights[index] for row in self.rows) for index in (0, 1)]
        return "\n".join([*lines, f"{'together':39}{f'{weights[0]:,} -> {weights[1]:,}':>20}{total:>26}"])


def low_rank_report(model, small):
    """Compares the layers that `low_rank` changed with what they were.

    Example:

    ```python
    print(tfopt.low_rank_report(model, tfopt.low_rank(model, rank=0.25)))
    ```

    Args:
        model: the model that `low_rank` was given.
        small: the model that it returned, trained on or not.

    Returns:
        `LowRankReport`.

    Raises:
        ArgumentError: `small` does not come from `model`.
    """
    old, new = ({layer.name: layer for layer in surgery.walk_layers(each)} for each in (model, small))
    rows = []
    for name, layer in old.items():
        first, second = new.get(f"{name}_in"), new.get(name)
        if first is None or second is None or type(layer).__name__ not in _CLASSES or f"{name}_in" in old:
            continue
        matrix, rank = _split(layer)[0], first.kernel.shape[-1]
        product = first.kernel.numpy().reshape(-1, rank) @ second.kernel.numpy().reshape(rank, -1)
        error = float(np.linalg.norm(matrix - product) / max(np.linalg.norm(matrix), np.finfo("float32").tiny))
        sizes = matrix.size, rank * sum(matrix.shape)
        positions = _positions(layer, matrix.shape[0])
        macs = None if positions is None else (positions * sizes[0], positions * sizes[1])
        rows.append(LowRankRow(name, rank, error, sizes, macs))
    if not rows:
        raise ArgumentError("`small` must be what low_rank made of `model`. Received: models without such layers.")
    return LowRankReport(tuple(rows))


def _positions(layer, contracted):
    """How often a sample meets each weight of a layer, which sums over `contracted` values at once; None if that is open."""
    is_convolution = type(layer).__name__.startswith("Conv")
    try:
        shape = layer.output.shape[1:-1] if is_convolution else layer.input.shape[1:]
    except (AttributeError, ValueError):
        return None  # called more than once, or not in a graph
    if None in shape:
        return None
    return math.prod(shape) if is_convolution else math.prod(shape) // contracted


def _rebuild(model, rank, energy, left_out, changed):
    graph, pairs = Graph(model), {}

    def make(layer):
        origin = graph.origins[id(layer)]
        if is_functional(layer):
            return _rebuild(origin, rank, energy, left_out, changed)
        if id(origin) not in left_out and type(layer).__name__ in _CLASSES:
            pair = _factors(origin, rank, energy)
            if pair:
                changed.append(origin.name)
                pairs[id(pair[1])] = pair
                return pair[1]  # the pair stands for it: see `call`
        return None

    def call(each, layer, args, kwargs):
        if id(layer) not in pairs:
            return layer(*args, **kwargs)
        first, second, _ = pairs[id(layer)]
        return second(first(*args, **kwargs))

    made = graph.replay(make, call=call)
    for first, second, (inner, outer, bias) in pairs.values():
        first.set_weights([inner])
        second.set_weights([outer] if bias is None else [outer, bias])
    return made


def _factors(layer, rank, energy):
    """(first layer, second layer, (kernel of the first, kernel of the second, bias or None)) where that is cheaper, else None."""
    split = _split(layer)
    if split is None:
        return None
    matrix, inner_shape, outer_shape, first, second = split
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    r = _choose(s, rank, energy)
    if r * sum(matrix.shape) >= matrix.size:
        return None
    inner, outer = (u[:, :r] * s[:r]).reshape(*inner_shape, r), v[:r].reshape(r, *outer_shape)
    if isinstance(layer, keras.layers.Conv1D | keras.layers.Conv2D | keras.layers.Conv3D):
        outer = outer.reshape(*[1] * len(layer.kernel_size), r, *outer_shape)
    bias = layer.bias.numpy() if layer.bias is not None else None
    return first(r), second(r), (inner.astype("float32"), outer.astype("float32"), bias)


def _split(layer):
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


def _check(model, rank, energy):
    if not is_functional(model):
        what = surgery.describe(model) if hasattr(model, "name") else type(model).__name__
        raise ArgumentError(f"low_rank needs a Functional Keras 3 model, or a Sequential one that is built. Received: {what}.")
    if (rank is None) == (energy is None):
        raise ArgumentError(f"one of `rank` and `energy` must be given. Received: rank={rank!r}, energy={energy!r}.")
    is_share = isinstance(rank, float) and 0 < rank < 1
    is_count = isinstance(rank, int) and not isinstance(rank, bool) and rank >= 1
    if rank is not None and not (is_share or is_count):
        raise ArgumentError(f"`rank` must be an int of at least 1, or a float between 0 and 1. Received: rank={rank!r}.")
    if energy is not None and not (isinstance(energy, float) and 0 < energy < 1):
        raise ArgumentError(f"`energy` must be a float between 0 and 1. Received: energy={energy!r}.")
