"""`prune_sensitivity()`: the accuracy that pruning each layer alone costs, and a plan from it."""

from __future__ import annotations

import collections.abc
import dataclasses
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from tfopt import errors
from tfopt.keras_model.copy import copy_model
from tfopt.keras_model.requirements import require_built, require_float_weights
from tfopt.progress import progress_bar
from tfopt.pruning import masks
from tfopt.pruning.options import check_options
from tfopt.pruning.prunable_weights import find_targets
from tfopt.reporting.tables import Block, Summarized, Table

if TYPE_CHECKING:
    import matplotlib.axes

    from tfopt.keras_model.select import Selectors
    from tfopt.keras_model.types import AnyModel
    from tfopt.pruning.prunable_weights import Target

Metric: TypeAlias = Literal["accuracy"] | Callable[[Any, npt.NDArray[Any]], float]
"""The name of a metric, or a function (y, predictions) -> float, the higher the better."""


@dataclasses.dataclass(frozen=True)
class Sensitivity(Summarized):
    """The metric of a model when one layer alone is pruned; `print` shows a table."""

    baseline: float  # metric of the model without pruning
    scores: Mapping[str, Mapping[float, float]]  # layer name -> {sparsity: metric}, most sensitive layer first
    metric: str  # its name

    def plan(self, tolerance: float = 0.01) -> dict[str, float]:
        """For each layer, the highest sparsity that was tried whose metric is within `tolerance` of the baseline.

        Args:
            tolerance: 0 or more, in units of the metric; 0.01 is one percentage point of accuracy.

        Returns:
            Layer name -> sparsity, for `prune` and for a schedule: `PolynomialDecay(final_sparsity=plan)`. Layers that tolerate
            no sparsity that was tried are left out. Each layer was pruned alone: all together lose more, and training recovers it.

        Raises:
            ArgumentError: `tolerance` is negative, or no layer stays within it.
        """
        if not tolerance >= 0:
            raise errors.ArgumentError(f"tolerance must be 0 or more. Received: tolerance={tolerance!r}.")
        chosen = {}
        for layer, scores in self.scores.items():
            within = [sparsity for sparsity, score in scores.items() if score >= self.baseline - tolerance]
            if within:
                chosen[layer] = max(within)
        if not chosen:
            raise errors.ArgumentError(
                f"some layer must stay within the tolerance. Received: tolerance={tolerance!r}; the least loss is "
                f"{self.baseline - max(max(scores.values()) for scores in self.scores.values()):.4g}."
            )
        return chosen

    def plot(self, axes: matplotlib.axes.Axes | None = None) -> matplotlib.axes.Axes:
        """Draws the metric over the sparsity, one line for each layer.

        Args:
            axes: the axes to draw on; None for new ones.

        Returns:
            The axes.
        """
        if axes is None:
            import matplotlib.pyplot

            axes = matplotlib.pyplot.figure().add_subplot()
        for layer, scores in self.scores.items():
            axes.plot([0.0, *scores], [self.baseline, *scores.values()], marker="o", label=layer)
        axes.set_xlabel("sparsity of this layer alone")
        axes.set_ylabel(self.metric)
        axes.legend()
        return axes

    def __repr__(self) -> str:
        return f"Sensitivity({self.metric} {self.baseline:.4f} without pruning, {len(self.scores)} layers)"

    def _summary(self) -> list[Block]:
        title = f"{self.metric} with one layer pruned to a sparsity; {self.baseline:.4f} without pruning"
        sparsities = list(next(iter(self.scores.values())))
        rows = [[layer, *(f"{scores[sparsity]:.4f}" for sparsity in sparsities)] for layer, scores in self.scores.items()]
        return [title, Table(["layer", *(f"{100 * sparsity:g} %" for sparsity in sparsities)], rows)]


def prune_sensitivity(
    model: AnyModel,
    data: tuple[Any, npt.ArrayLike],
    *,
    metric: Metric,
    sparsities: Sequence[float] = (0.25, 0.5, 0.75, 0.9),
    pattern: masks.Pattern = masks.Unstructured(),
    include: Selectors = None,
    exclude: Selectors = None,
    verbose: bool = True,
) -> Sensitivity:
    """Prunes one layer at a time and measures how sensitive the model is to it.

    Example:

    ```python
    table = tfopt.prune_sensitivity(model, (x_val, y_val), metric="accuracy")
    print(table)
    table.plot()
    plan = table.plan(tolerance=0.005)
    model.fit(x, y, callbacks=[tfopt.PruningCallback(tfopt.PolynomialDecay(final_sparsity=plan))])
    ```

    Args:
        model: a built Keras 3 or Keras 2 model; it stays as it is.
        data: (x, y); x as for `model.predict`. A few hundred samples are enough.
        metric: "accuracy" (argmax, or above 0.5 for one output), or a function (y, predictions) -> float, the higher the better.
        sparsities: fractions to try, in (0, 1). With `NByM` only the sparsity of the pattern is tried.
        pattern, include, exclude: as for `PruningCallback`.
        verbose: whether a progress bar is drawn on a terminal or in a notebook.

    Returns:
        The metric of each layer and sparsity, most sensitive layer first.

    Raises:
        ArgumentError, DataError: a wrong argument, or data that do not fit.
    """
    check_options(pattern, "layer")
    if isinstance(pattern, masks.NByM):
        sparsities = (pattern.sparsity,)
    several = list(sparsities) if isinstance(sparsities, collections.abc.Iterable) else []
    if not several or not all(isinstance(sparsity, numbers.Real) and 0 < sparsity < 1 for sparsity in several):
        raise errors.ArgumentError(f"sparsities must be fractions in (0, 1), one or more in a tuple. Received: {sparsities!r}.")
    sparsities = sorted(set(several))
    measure = _measure_of(metric, data)
    require_built(model)
    require_float_weights(model)
    copy = copy_model(model)
    targets, _ = find_targets(copy, pattern, include, exclude)
    layers: dict[str, list[Target]] = {}
    for target in targets:
        layers.setdefault(target.layer_name, []).append(target)
    baseline = measure(copy)
    scores: dict[str, dict[float, float]] = {}
    with progress_bar(verbose) as report:
        for done, (name, own) in enumerate(layers.items()):
            before = [target.variable.numpy() for target in own]
            scores[name] = {}
            for sparsity, values in _pruned_values(own, pattern, sparsities):
                tried = done * len(sparsities) + len(scores[name])
                report({"stage": f"prune {name}", "done": tried, "total": len(layers) * len(sparsities)})
                _assign(own, values)
                scores[name][sparsity] = measure(copy)
            _assign(own, before)
    worst_first = dict(sorted(scores.items(), key=lambda item: sum(item[1].values())))
    return Sensitivity(baseline, worst_first, metric if isinstance(metric, str) else getattr(metric, "__name__", "metric"))


def _pruned_values(
    targets: Sequence[Target], pattern: masks.Pattern, sparsities: Sequence[float]
) -> collections.abc.Iterator[tuple[float, list[npt.NDArray[Any]]]]:
    """Yields each sparsity and the values of the targets at it."""
    before = [target.variable.numpy() for target in targets]
    matrices = [target.matrix() for target in targets]
    for sparsity in sparsities:
        counts = [masks.count_zeros(target.size // pattern.unit, sparsity) for target in targets]
        made = masks.make_masks(matrices, pattern, counts)
        yield (
            sparsity,
            [
                np.where(target.unmatrix(mask), value, np.zeros((), value.dtype))
                for target, value, mask in zip(targets, before, made, strict=True)
            ],
        )


def _assign(targets: Sequence[Target], values: Sequence[npt.NDArray[Any]]) -> None:
    for target, value in zip(targets, values, strict=True):
        target.variable.assign(value)


def _measure_of(metric: Metric, data: tuple[Any, npt.ArrayLike]) -> Callable[[AnyModel], float]:
    if not (isinstance(data, tuple | list) and len(data) == 2):
        raise errors.DataError(f"data must be a pair (x, y) of arrays. Received: {type(data).__name__}.")
    x, y = data
    function = _accuracy if metric == "accuracy" else metric
    if not callable(function):
        raise errors.ArgumentError(
            "metric must be 'accuracy' or a function (y, predictions) -> float, the higher the better. "
            f"Received: metric={metric!r}."
        )

    def measure(model: AnyModel) -> float:
        score = float(function(y, model.predict(x, verbose=0)))
        if np.isnan(score):
            raise errors.DataError("the metric must be a number on these data. Received: NaN.")
        return score

    return measure


def _accuracy(labels: npt.ArrayLike, predictions: npt.NDArray[Any]) -> float:
    y, predictions = np.asarray(labels), np.asarray(predictions)
    if len(y) != len(predictions) or not len(y):
        raise errors.DataError(f"y must have a label for each of the {len(predictions)} predictions. Received: {len(y)} labels.")
    if predictions.shape[-1] == 1:
        return float(np.mean((predictions.reshape(-1) > 0.5) == (y.reshape(-1) > 0.5)))
    classes = y.argmax(axis=-1) if y.shape == predictions.shape else y.reshape(predictions.shape[:-1])
    return float(np.mean(predictions.argmax(axis=-1) == classes))
