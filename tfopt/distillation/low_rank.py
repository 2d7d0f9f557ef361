"""`low_rank`: a smaller model to start from, whose large kernels are products of two thin ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfopt.distillation.factors import CLASSES, Factors, factors
from tfopt.errors import ArgumentError
from tfopt.keras_model.describe import describe
from tfopt.keras_model.functional_graph import Graph, is_functional
from tfopt.keras_model.requirements import require_float_weights
from tfopt.keras_model.select import left_out_layers
from tfopt.progress import progress_bar

if TYPE_CHECKING:
    import keras

    from tfopt.keras_model.functional_graph import Call
    from tfopt.keras_model.select import Selectors


def low_rank(
    model: keras.Model,
    rank: int | float | None = None,
    *,
    energy: float | None = None,
    include: Selectors = None,
    exclude: Selectors = None,
    verbose: bool = True,
) -> keras.Model:
    """Returns a new plain model in which large kernels are products of two: it has fewer weights and multiplications.

    `W ~ (U_r S_r) V_r`, the nearest matrix of rank `r` (singular value decomposition). A Dense becomes two; a convolution becomes
    one of the same size with `r` filters and one of size 1. Only layers that get cheaper change. The second layer has the name,
    bias and activation of the old one, the first layer is named `NAME_in`. Train the model afterwards, best with a `Distiller` and
    the old model as teacher.

    Example:

    ```python
    small = tfopt.low_rank(model, energy=0.9)
    print(tfopt.low_rank_report(model, small))
    ```

    Args:
        model: a Functional or Sequential Keras 3 model; it is untouched.
        rank: an int of at least 1, the `r` of all layers; or a float between 0 and 1, a fraction of the largest rank that a layer
            could have.
        energy: a float between 0 and 1, in place of `rank`: `r` is the least rank with `sum_{i <= r} s_i^2 >= energy sum s_i^2`.
        include, exclude: as for `PruningCallback`; by default all Dense, EinsumDense and Conv layers without groups.
        verbose: whether a progress bar is drawn on a terminal or in a notebook.

    Returns:
        A new model, not compiled.

    Raises:
        ArgumentError: neither `rank` nor `energy` was given, or both; a selector matches no layer; no layer gets cheaper.

    Source: Denton et al., Exploiting linear structure within convolutional networks, arXiv:1404.0736.
    """
    _check(model, rank, energy)
    require_float_weights(model)
    left_out = left_out_layers(model, include, exclude)
    changed: list[str] = []
    with progress_bar(verbose) as progress:
        progress({"stage": "factorize kernels"})
        made = _rebuild(model, rank, energy, left_out, changed)
    if not changed:
        raise ArgumentError(
            f"There must be layers that get cheaper at rank={rank}, energy={energy}. Received: a model in which no chosen layer of "
            f"{', '.join(CLASSES)} does. Give a lower rank or energy."
        )
    return made


def _rebuild(
    model: keras.Model, rank: int | float | None, energy: float | None, left_out: set[int], changed: list[str]
) -> keras.Model:
    """The new model; `changed` takes in the names of the layers that changed."""
    graph = Graph(model)
    pairs: dict[int, Factors] = {}  # id of the second layer -> both

    def make(layer: keras.Operation) -> keras.Operation | None:
        origin = graph.origins[id(layer)]
        if is_functional(layer):
            return _rebuild(origin, rank, energy, left_out, changed)
        if id(origin) not in left_out and type(layer).__name__ in CLASSES:
            pair = factors(origin, rank, energy)
            if pair:
                changed.append(origin.name)
                pairs[id(pair.second)] = pair
                return pair.second  # `call` calls both
        return None

    def call(each: Call, layer: keras.Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        pair = pairs.get(id(layer))
        return layer(*args, **kwargs) if pair is None else layer(pair.first(*args, **kwargs))

    made = graph.replay(make, call=call)
    for pair in pairs.values():
        pair.first.set_weights([pair.first_kernel])
        pair.second.set_weights([pair.second_kernel] if pair.bias is None else [pair.second_kernel, pair.bias])
    return made


def _check(model: object, rank: object, energy: object) -> None:
    if not is_functional(model):
        what = describe(model) if hasattr(model, "name") else type(model).__name__
        raise ArgumentError(f"low_rank needs a Functional Keras 3 model, or a built Sequential model. Received: {what}.")
    if (rank is None) == (energy is None):
        raise ArgumentError(f"One of `rank` and `energy` must be given. Received: rank={rank!r}, energy={energy!r}.")
    is_share = isinstance(rank, float) and 0 < rank < 1
    is_count = isinstance(rank, int) and not isinstance(rank, bool) and rank >= 1
    if rank is not None and not (is_share or is_count):
        raise ArgumentError(f"`rank` must be an int of at least 1, or a float between 0 and 1. Received: rank={rank!r}.")
    if energy is not None and not (isinstance(energy, float) and 0 < energy < 1):
        raise ArgumentError(f"`energy` must be a float between 0 and 1. Received: energy={energy!r}.")
