"""`prune()`: zeros in one shot, without training."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfopt import errors
from tfopt.keras_model.copy import copy_model
from tfopt.keras_model.requirements import require_built, require_float_weights
from tfopt.pruning import masks, schedules
from tfopt.pruning.options import as_plan, check_final, check_options
from tfopt.pruning.prunable_weights import find_targets

if TYPE_CHECKING:
    from tfopt.keras_model.select import Selectors
    from tfopt.keras_model.types import AnyModel
    from tfopt.pruning.options import Scope
    from tfopt.pruning.prunable_weights import Target


def prune(
    model: AnyModel,
    sparsity: float | Mapping[str, float] | None = None,
    *,
    threshold: float | None = None,
    pattern: masks.Pattern = masks.Unstructured(),
    scope: Scope = "layer",
    include: Selectors = None,
    exclude: Selectors = None,
) -> AnyModel:
    """A copy of a model whose weights of least magnitude are zero; nothing is trained.

    With `sparsity`, the `size - max(1, round(size (1 - sparsity)))` smallest weights of each tensor (or of all tensors together)
    become zero; with `threshold`, every weight with `|w| <= threshold`. To recover accuracy, train the copy with
    `tfopt.PreserveSparsity()`.

    Example:

    ```python
    pruned = tfopt.prune(model, sparsity=0.5)
    pruned = tfopt.prune(model, threshold=0.01, include="conv*")
    pruned = tfopt.prune(model, tfopt.prune_sensitivity(model, (x, y), metric="accuracy").plan(tolerance=0.005))
    ```

    Args:
        model: a built Keras 3 or Keras 2 model; it stays as it is.
        sparsity: fraction of zeros, in [0, 1), or a plan (dict of layer name -> fraction). With `NByM`, None stands for the
            sparsity of the pattern.
        threshold: 0 or more, instead of `sparsity`; only for single weights, `Unstructured()`.
        pattern, scope, include, exclude: as for `PruningCallback`; frozen layers are pruned too.

    Returns:
        A model of the same kind, not compiled.

    Raises:
        ArgumentError: a wrong argument, a selector that matches nothing, or a model that cannot be copied.
        PruningError: a weight is NaN or infinite.

    References:
        Han et al., Learning both weights and connections, arXiv:1506.02626.
    """
    check_options(pattern, scope)
    if sparsity is None and threshold is None and isinstance(pattern, masks.NByM):
        sparsity = pattern.sparsity
    if (sparsity is None) == (threshold is None):
        raise errors.ArgumentError(
            f"prune needs either a sparsity or a threshold. Received: sparsity={sparsity!r}, threshold={threshold!r}."
        )
    if sparsity is not None:
        schedules.check_sparsity("sparsity", sparsity)
        check_final(sparsity, pattern, scope)
    elif pattern != masks.Unstructured() or not isinstance(threshold, numbers.Real) or not 0 <= threshold < np.inf:
        raise errors.ArgumentError(
            "threshold must be a number of 0 or more, with pattern=tfopt.Unstructured(). "
            f"Received: threshold={threshold!r}, {pattern}."
        )
    require_built(model)
    require_float_weights(model)
    copy = copy_model(model)
    targets, _ = find_targets(copy, pattern, include, exclude, plan=as_plan(sparsity))
    matrices = [target.matrix() for target in targets]
    if sparsity is None:
        made = [np.abs(matrix) > threshold for matrix in matrices]
    else:
        made = masks.make_masks(matrices, pattern, _counts(targets, sparsity, pattern, scope))
    for target, mask in zip(targets, made, strict=True):
        value = target.variable.numpy()
        target.variable.assign(np.where(target.unmatrix(mask), value, np.zeros((), value.dtype)))
    return copy


def _counts(
    targets: Sequence[Target], sparsity: float | Mapping[str, float], pattern: masks.Pattern, scope: Scope
) -> list[int] | int:
    """The number of units to remove from each target, or from all targets together."""
    units = [target.size // pattern.unit for target in targets]
    if not isinstance(sparsity, Mapping):
        return masks.count_zeros(sum(units), sparsity) if scope == "global" else [masks.count_zeros(n, sparsity) for n in units]
    shares = [sparsity[target.layer_name] for target in targets]
    return [masks.count_zeros(count, share) for count, share in zip(units, shares, strict=True)]
