"""`low_rank`: a smaller model to start from, whose large kernels are products of two thin ones."""

from tfopt.distillation.factors import CLASSES, factors
from tfopt.errors import ArgumentError
from tfopt.keras_model.describe import describe
from tfopt.keras_model.functional_graph import Graph, is_functional
from tfopt.keras_model.select import left_out_layers


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
    left_out = left_out_layers(model, include, exclude)
    changed = []
    made = _rebuild(model, rank, energy, left_out, changed)
    if not changed:
        raise ArgumentError(
            f"there must be layers that get cheaper at rank={rank}, energy={energy}. Received: none among the "
            f"{', '.join(CLASSES)} layers that were asked for. Ask for a lower rank or energy."
        )
    return made


def _rebuild(model, rank, energy, left_out, changed):
    graph, pairs = Graph(model), {}

    def make(layer):
        origin = graph.origins[id(layer)]
        if is_functional(layer):
            return _rebuild(origin, rank, energy, left_out, changed)
        if id(origin) not in left_out and type(layer).__name__ in CLASSES:
            pair = factors(origin, rank, energy)
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


def _check(model, rank, energy):
    if not is_functional(model):
        what = describe(model) if hasattr(model, "name") else type(model).__name__
        raise ArgumentError(f"low_rank needs a Functional Keras 3 model, or a Sequential one that is built. Received: {what}.")
    if (rank is None) == (energy is None):
        raise ArgumentError(f"one of `rank` and `energy` must be given. Received: rank={rank!r}, energy={energy!r}.")
    is_share = isinstance(rank, float) and 0 < rank < 1
    is_count = isinstance(rank, int) and not isinstance(rank, bool) and rank >= 1
    if rank is not None and not (is_share or is_count):
        raise ArgumentError(f"`rank` must be an int of at least 1, or a float between 0 and 1. Received: rank={rank!r}.")
    if energy is not None and not (isinstance(energy, float) and 0 < energy < 1):
        raise ArgumentError(f"`energy` must be a float between 0 and 1. Received: energy={energy!r}.")
