"""`prune_sensitivity()`: what each layer costs in accuracy when it alone is pruned, and a plan from it."""

import collections.abc
import dataclasses
import numbers

import numpy as np

from tfopt import errors
from tfopt.keras_model.copy import copy_model
from tfopt.keras_model.describe import require_built
from tfopt.pruning import masks
from tfopt.pruning.options import check_options
from tfopt.pruning.prunable_weights import find_targets


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """The metric of a model when one layer alone is pruned: `scores` is a dict of layer name -> {sparsity: metric}."""

    baseline: float  # metric of the model as it is
    scores: dict
    metric: str

    def plan(self, tolerance=0.01):
        """The highest sparsity tried of each layer whose metric stays within `tolerance` of the baseline.

        Args:
            tolerance: float, 0 or more, in units of the metric; 0.01 is a point of accuracy.

        Returns:
            dict of layer name -> sparsity, for `prune` and for a schedule: `PolynomialDecay(final_sparsity=plan)`. Layers that
            stand no sparsity that was tried are left out. Each was pruned alone: all together lose more, training wins back.

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

    def plot(self, axes=None):
        """Draws the metric over the sparsity, a line for each layer.

        Args:
            axes: None for new ones, or matplotlib axes.

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

    def __str__(self):
        sparsities = list(next(iter(self.scores.values())))
        rows = [("layer", *(f"{sparsity:.0%}" for sparsity in sparsities))]
        for layer, scores in self.scores.items():
            rows.append((layer, *(f"{scores[sparsity]:.4f}" for sparsity in sparsities)))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([f"{self.metric}, {self.baseline:.4f} as it is", *lines])


def prune_sensitivity(
    model,
    data,
    *,
    metric,
    sparsities=(0.25, 0.5, 0.75, 0.9),
    pattern=masks.Unstructured(),
    include=None,
    exclude=None,
    progress=None,
):
    """Prunes one layer at a time and measures: which layers stand how much.

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
        data: (x, y) with arrays, as for `model.predict`; a few hundred samples do.
        metric: "accuracy" (argmax, or above 0.5 for one output), or a function (y, predictions) -> float, the higher the better.
        sparsities: fractions to try, in (0, 1).
        pattern, include, exclude: as for `PruningCallback`; with `NByM` its own sparsity is the only one.
        progress: None for a progress bar on a terminal, False for none, or a function of (done, total).

    Returns:
        A `Sensitivity`; `str()` of it is a table, worst layer first.

    Raises:
        ArgumentError, DataError: a wrong argument or data that do not fit.
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
    copy = copy_model(model)
    targets, _ = find_targets(copy, pattern, include, exclude)
    layers = {}
    for target in targets:
        layers.setdefault(target.layer_name, []).append(target)
    baseline = measure(copy)
    scores = {}
    with _bar(progress, len(layers) * len(sparsities)) as advance:
        for name, own in layers.items():
            scores[name] = {}
            before = [target.variable.numpy() for target in own]
            matrices = [target.matrix() for target in own]
            for sparsity in sparsities:
                counts = [masks.count_zeros(target.size // pattern.unit, sparsity) for target in own]
                made = masks.make_masks(matrices, pattern, counts)
                for target, value, mask in zip(own, before, made, strict=True):
                    target.variable.assign(np.where(target.unmatrix(mask), value, np.zeros((), value.dtype)))
                scores[name][sparsity] = measure(copy)
                advance()
            for target, value in zip(own, before, strict=True):
                target.variable.assign(value)
    worst_first = dict(sorted(scores.items(), key=lambda item: sum(item[1].values())))
    return Sensitivity(baseline, worst_first, metric if isinstance(metric, str) else getattr(metric, "__name__", "metric"))


def _measure_of(metric, data):
    if not (isinstance(data, tuple | list) and len(data) == 2):
        raise errors.DataError(f"data must be a pair (x, y) of arrays. Received: {type(data).__name__}.")
    x, y = data
    if metric == "accuracy":
        metric = _accuracy
    if not callable(metric):
        raise errors.ArgumentError(
            "metric must be 'accuracy' or a function (y, predictions) -> float, the higher the better. "
            f"Received: metric={metric!r}."
        )

    def measure(model):
        score = float(metric(y, model.predict(x, verbose=0)))
        if np.isnan(score):
            raise errors.DataError("the metric must be a number on these data. Received: NaN.")
        return score

    return measure


def _accuracy(y, predictions):
    y, predictions = np.asarray(y), np.asarray(predictions)
    if len(y) != len(predictions) or not len(y):
        raise errors.DataError(f"y must have a label for each of the {len(predictions)} predictions. Received: {len(y)}.")
    if predictions.shape[-1] == 1:
        return np.mean((predictions.reshape(-1) > 0.5) == (y.reshape(-1) > 0.5))
    labels = y.argmax(axis=-1) if y.shape == predictions.shape else y.reshape(predictions.shape[:-1])
    return np.mean(predictions.argmax(axis=-1) == labels)


class _bar:
    """A progress bar on a terminal, or calls of the user's own function."""

    def __init__(self, progress, total):
        self._own, self._total, self._done, self._bar = progress, total, 0, None

    def __enter__(self):
        import sys

        if self._own is None and sys.stderr.isatty():
            import rich.console
            import rich.progress

            self._bar = rich.progress.Progress(console=rich.console.Console(stderr=True), transient=True)
            self._task = self._bar.add_task("pruning layer by layer", total=self._total)
            self._bar.start()
        return self._advance

    def _advance(self):
        self._done += 1
        if callable(self._own):
            self._own(self._done, self._total)
        elif self._bar is not None:
            self._bar.update(self._task, advance=1)

    def __exit__(self, *error):
        if self._bar is not None:
            self._bar.stop()
