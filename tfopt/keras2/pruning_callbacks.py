"""`pruning_callbacks()`: place the schedules of a pruned model in a run, and check the sparsity at its end."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfopt import errors
from tfopt.keras2.door import tfmot
from tfopt.keras2.pruning_schedule import place, tfmot_schedule
from tfopt.keras2.requirements import require_keras2
from tfopt.keras2.tfmot_layers import pruning_wrappers
from tfopt.keras_model.describe import describe
from tfopt.pruning import masks, timetable

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras


def pruning_callbacks() -> list[tf_keras.callbacks.Callback]:
    """The callbacks with which a model of `prune` is trained.

    They place the schedule in the run, update the masks, add `logs["sparsity"]`, the share of zeros in the pruned weights, at the
    end of each epoch, and check the sparsity at the end of training. They must come first in the list of callbacks.

    Example: `pruned.fit(x, y, epochs=10, callbacks=[*tfopt.legacy.pruning_callbacks(), early_stopping])`

    Returns:
        A callback of tfopt and tfmot's `UpdatePruningStep`.

    Raises:
        ArgumentError: at the beginning of `fit`, if the model does not come from `prune`.
        PruningError: the schedule does not fit the run, or the sparsity is missed at the end.
    """
    return [_sparsity_callback()(), tfmot().sparsity.keras.UpdatePruningStep()]


@functools.cache
def _sparsity_callback() -> type[Any]:
    """The class of the callback that places the schedules and checks the sparsity; made once, when Keras 2 is needed."""
    import tf_keras

    class Sparsity(tf_keras.callbacks.Callback):
        """Places the schedules in a run and checks the sparsity."""

        def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
            """Finds the layers."""
            require_keras2(self.model, "pruning_callbacks")
            self.wrappers = pruning_wrappers(self.model)
            foreign = [each.name for each in self.wrappers if not isinstance(each.pruning_schedule, tfmot_schedule())]
            if foreign or not self.wrappers:
                raise errors.ArgumentError(
                    "the model must come from tfopt.legacy.prune. Received: "
                    f"{describe(self.model)}, {'with a schedule of tfmot' if foreign else 'which has no pruned layer'}."
                )
            self.placed = False

        def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            """Places the schedules. It could not be done before: other callbacks restore an interrupted run."""
            if self.placed:
                return
            now = self._step()
            start, total = timetable.run_of(now, epoch, self.params.get("epochs"), self.params.get("steps"))
            for wrapper in self.wrappers:
                own = wrapper.pruning_schedule
                own.run = place(own.schedule, own.frequency, start, total, now, _least_sparsity(wrapper))
                own.iterations = self.model.optimizer.iterations
            self.model.make_train_function(force=True)  # the table is a constant of its graph
            self.placed = True

        def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            """Makes the masks that are due after the last step, which tfmot leaves to the next step, and adds the sparsity."""
            self.model.distribute_strategy.run(self._update)
            if logs is not None:
                values = [weight.numpy() for wrapper in self.wrappers for weight, *_ in wrapper.pruning_vars]
                logs["sparsity"] = 1 - sum(int(np.count_nonzero(value)) for value in values) / sum(value.size for value in values)

        def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
            """Compares the sparsity with the target."""
            if self.placed:
                _check_target(self.wrappers, self._step())

        def _update(self) -> None:
            for wrapper in self.wrappers:
                wrapper.pruning_obj.weight_mask_op()
                wrapper.pruning_obj.conditional_mask_update()
                wrapper.pruning_obj.weight_mask_op()

        def _step(self) -> int:
            return int(self.model.optimizer.iterations.numpy())

    return Sparsity


def _least_sparsity(wrapper: tf_keras.layers.Layer) -> float:
    """The least sparsity of the weights of a wrapped layer. A weight that is zero as a whole has not been trained: it counts 0."""
    shares = [float(np.mean(_scores(wrapper, weight) == 0)) for weight, *_ in wrapper.pruning_vars]
    return min(0.0 if share == 1 else share for share in shares)


def _check_target(wrappers: Sequence[tf_keras.layers.Layer], step: int) -> None:
    """Raises unless the weights of wrapped layers have the sparsity that is due at the end of a run.

    Args:
        wrappers: layers of tfmot, whose schedules have a `Run`.
        step: the step of the optimizer.
    """
    missed, end = [], 0
    for wrapper in wrappers:
        run = wrapper.pruning_schedule.run
        end = max(end, run.schedule.end)
        for weight, *_ in wrapper.pruning_vars:
            scores = _scores(wrapper, weight)
            zeros, due = int(np.sum(scores == 0)), masks.count_zeros(len(scores), run.sparsities[-1])
            if zeros < due - 1 - len(scores) * 2**-22:  # tfmot computes in float32
                missed.append(f"{weight.name.partition(':')[0]} {zeros / len(scores):.2%} of {due / len(scores):.2%}")
    if missed:
        reason = f"training ended at optimizer step {step:,}, the schedule ends at {end:,}"
        if step >= end:
            reason = "weights changed after the last step, or weights have equal magnitudes, of which tfmot keeps all"
        raise errors.PruningError(
            f"the sparsity must be reached at the end of training. Received: {', '.join(missed)}: {reason}. Train longer, or "
            "let the schedule end earlier."
        )


def _scores(wrapper: tf_keras.layers.Layer, weight: tf.Variable) -> npt.NDArray[np.floating]:
    """Magnitudes of the units of a weight that tfmot keeps or removes as a whole."""
    block = tuple(wrapper.block_size)
    pattern = masks.Unstructured() if block == (1, 1) else masks.Block(block)
    value = np.asarray(weight.numpy()).astype("float32")
    return pattern.scores(value.reshape(-1, value.shape[-1]))
