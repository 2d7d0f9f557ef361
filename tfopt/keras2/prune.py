"""`prune()`: prune a Keras 2 model with tensorflow-model-optimization (tfmot)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from tfopt import errors
from tfopt.keras2 import pruned_layers
from tfopt.keras2.door import tfmot
from tfopt.keras2.pruning_schedule import tfmot_schedule
from tfopt.keras2.rebuild import rebuild
from tfopt.keras2.requirements import require_plain
from tfopt.keras_model.copy import copy_model
from tfopt.pruning import masks, options, schedules

if TYPE_CHECKING:
    import tf_keras

    from tfopt.keras_model.select import Selectors
    from tfopt.pruning.schedules import Schedule


def prune(
    model: tf_keras.Model,
    schedule: Schedule,
    *,
    pattern: masks.Pattern = masks.Unstructured(),
    include: Selectors = None,
    exclude: Selectors = None,
    frequency: int | None = None,
) -> tf_keras.Model:
    """A copy of a Keras 2 model whose weights become zero while it trains, by tensorflow-model-optimization (tfmot).

    A schedule means the same as for `tfopt.PruningCallback`: at optimizer step `t`, before the gradient of this step,
    `size - round(size (1 - s(t)))` weights of each tensor are zero. Compile the copy, train it with `pruning_callbacks()`, and
    take its layers out of tfmot's wrappers with `strip`.

    Example:

    ```python
    pruned = tfopt.legacy.prune(model, tfopt.PolynomialDecay(final_sparsity=0.8))
    pruned.compile("adam", "mse")
    pruned.fit(x, y, epochs=10, callbacks=tfopt.legacy.pruning_callbacks())
    tfopt.legacy.strip(pruned).save("pruned.h5")
    ```

    Where the arithmetic of tfmot differs from that of `tfopt.PruningCallback`:

    - tfmot counts steps from 1 and tfopt from 0: tfmot's `begin_step=1, end_step=101` is `begin=0, end=100` here. tfmot's own
      schedules miss the last update unless `frequency` divides `end_step - begin_step`; here it always takes place.
    - tfmot's own `ConstantSparsity` chooses the weights anew every `frequency` steps; here they are chosen once, at `begin`.
    - tfmot computes the number of weights that are kept, `max(round(size (1 - s)), 1)`, in float32: large tensors differ from
      tfopt by one weight in 4 million.
    - If several weights have the magnitude of the threshold, tfmot keeps all of them; tfopt removes exactly as many as are due.
    - tfmot ranks the weights after the step of the optimizer: if one step lifts a pruned weight above the threshold, the weight
      comes back and another one is pruned instead. In tfopt a pruned weight stays zero.

    Args:
        model: a built tf_keras Sequential or functional model; it stays as it is. Nested ones are pruned inside.
        schedule: `ConstantSparsity` or `PolynomialDecay`, in steps of the optimizer or fractions of the run.
        pattern: `Unstructured()`; `Block((rows, columns))` only for matrices (Dense and recurrent layers; exclude other layers)
            with at least two blocks along each side; `NByM(n, m)` only for kernels of Dense and Conv2D whose input channels are a
            multiple of `m`, and with `ConstantSparsity` from the beginning, because tfmot makes this pattern at the first step.
        include, exclude: as for `tfopt.PruningCallback`, which selects the same weights.
        frequency: optimizer steps between two updates, above 0; None: 50 updates between the begin and the end of the schedule.

    Returns:
        A model that is not compiled. Weights that are zero already stay zero.

    Raises:
        ArgumentError: a wrong argument, a Keras 3 model, or a pattern or layer that tfmot cannot prune.

    References:
        Zhu and Gupta, To prune, or not to prune, arXiv:1710.01878.
    """
    require_plain(model, "prune")
    options.check_schedule(schedule, pattern, "layer", frequency)
    _check_schedule(schedule, pattern)
    copy = copy_model(model)
    replacements = {}
    for layer, (own, variables) in pruned_layers.find_layers(copy, schedule, pattern, include, exclude).items():
        # tfmot asks a layer for its weights to prune; without this method it knows the weights of some layers only.
        layer.get_prunable_weights = functools.partial(list, variables)
        replacements[id(layer)] = tfmot().sparsity.keras.prune_low_magnitude(
            layer,
            pruning_schedule=tfmot_schedule()(own, frequency),
            dtype=layer.dtype_policy,  # by default a wrapper takes the global policy
            **_tfmot_options(pattern),
        )
    return rebuild(copy, replacements)


def _check_schedule(schedule: Schedule, pattern: masks.Pattern) -> None:
    """Raises unless tfmot can make the pattern on this schedule."""
    if isinstance(pattern, masks.NByM) and not (isinstance(schedule, schedules.ConstantSparsity) and schedule.begin == 0):
        raise errors.ArgumentError(
            f"tfmot makes {pattern} at the first step and not gradually. Received: schedule={schedule!r}. Give "
            f"tfopt.ConstantSparsity({pattern.sparsity:g})."
        )


def _tfmot_options(pattern: masks.Pattern) -> dict[str, Any]:
    """The arguments of tfmot's `prune_low_magnitude` for a pattern."""
    if isinstance(pattern, masks.Block):
        return {"block_size": pattern.shape}
    if isinstance(pattern, masks.NByM):
        return {"sparsity_m_by_n": (pattern.m - pattern.n, pattern.m)}  # the number of zeros in m weights
    return {}
