"""Prune Keras 2 models with tensorflow-model-optimization (tfmot)."""

import dataclasses
import functools

import numpy as np

from tfopt import errors
from tfopt.keras2 import pruned_layers
from tfopt.keras2.door import tfmot
from tfopt.keras2.model import rebuild, require_keras2, require_plain, wrapped_layers
from tfopt.keras2.pruning_steps import check_schedule, check_target, least_sparsity, place, tfmot_options
from tfopt.keras_model.copy import copy_model
from tfopt.keras_model.describe import describe
from tfopt.pruning import masks, options, schedules


def prune(model, schedule, *, pattern=masks.Unstructured(), include=None, exclude=None, frequency=None):
    """A copy of a Keras 2 model whose weights become zero while it trains, by tensorflow-model-optimization (tfmot).

    The same schedule means the same as for `tfopt.PruningCallback`: at optimizer step `t`, before that step's gradient,
    `size - round(size x (1 - s(t)))` weights of each tensor are zero. Compile the copy, train it with `pruning_callbacks()` and
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
    - tfmot computes the count in float32, `max(round(size x (1 - s)), 1)` weights left: one of a tensor always stays, and large
      tensors differ by a few weights, one in 4 million.
    - Of weights with the magnitude of the threshold tfmot keeps all, tfopt as many as are due.
    - tfmot ranks weights after the optimizer's step: where one step lifts a pruned weight over the threshold, it comes back in
      the place of another. In tfopt a pruned weight stays zero.

    Args:
        model: a built tf_keras Sequential or functional model; it stays as it is. Nested ones are pruned inside.
        schedule: `ConstantSparsity` or `PolynomialDecay`, in steps of the optimizer or fractions of the run.
        pattern: `Unstructured()`; `Block((rows, columns))` for matrices only (Dense and recurrent layers; exclude others), of
            two blocks and more along each side; `NByM(n, m)` for kernels of Dense and Conv2D whose input channels divide by
            `m`, with `ConstantSparsity` from the beginning, as tfmot makes it at the first step.
        include, exclude: as for `tfopt.PruningCallback`, which selects the same weights.
        frequency: optimizer steps between two updates, an int above 0; None: 50 updates between the schedule's begin and end.

    Returns:
        A `tf_keras.Model`, not compiled. Weights that are zero already stay zero.

    Raises:
        ArgumentError: a wrong argument, a Keras 3 model, or something that tfmot cannot do.

    References:
        Zhu and Gupta, To prune, or not to prune, arXiv:1710.01878.
    """
    require_plain(model, "prune")
    options.check_schedule(schedule, pattern, "layer", frequency)
    check_schedule(schedule, pattern)
    copy = copy_model(model)
    replacements = {}
    for layer, (own, variables) in pruned_layers.find_layers(copy, schedule, pattern, include, exclude).items():
        # tfmot asks a layer for its weights to prune, and knows only some layers by itself.
        layer.get_prunable_weights = functools.partial(list, variables)
        replacements[id(layer)] = tfmot().sparsity.keras.prune_low_magnitude(
            layer,
            pruning_schedule=_tfmot_schedule()(own, frequency),
            dtype=layer.dtype_policy,  # else the wrapper takes the policy of the moment
            **tfmot_options(pattern),
        )
    return rebuild(copy, replacements)


def pruning_callbacks():
    """The callbacks with which a model of `prune` trains.

    They place the schedule in the run, update the masks, add `logs["sparsity"]`, the share of zeros in the pruned weights, at the
    end of each epoch, and look at the end of training whether the sparsity was reached. Let them be the first in the list.

    Example: `pruned.fit(x, y, epochs=10, callbacks=[*tfopt.legacy.pruning_callbacks(), early_stopping])`

    Returns:
        list of `tf_keras.callbacks.Callback`: our own and tfmot's `UpdatePruningStep`.

    Raises:
        ArgumentError: at the beginning of `fit`, if the model does not come from `prune`.
        PruningError: the schedule does not fit the run, or the sparsity was missed at the end.
    """
    return [_sparsity_callback()(), tfmot().sparsity.keras.UpdatePruningStep()]


@functools.cache
def _tfmot_schedule():
    """The class that shows one of our schedules to tfmot."""
    import tensorflow as tf
    import tf_keras

    @tf_keras.saving.register_keras_serializable(package="tfopt")
    class Schedule(tfmot().sparsity.keras.PruningSchedule):
        """The steps at which masks are made and the sparsity at each; empty until a run has begun.

        Steps are the optimizer's. tfmot's own count, `step`, goes up at every call of a layer, so twice a step in a shared one.
        """

        def __init__(self, schedule, frequency=None):
            self.schedule = schedule
            self.frequency = frequency
            self.iterations = None  # of the optimizer, a variable
            self.run = None

        def __call__(self, step):
            if self.run is None:
                return tf.constant(False), tf.constant(0.0)
            now = tf.cast(self.iterations, tf.int64)
            steps = tf.constant(self.run.steps, tf.int64)
            index = tf.minimum(tf.searchsorted(steps, now[tf.newaxis])[0], len(self.run.steps) - 1)
            return tf.equal(steps[index], now), tf.constant(self.run.sparsities, tf.float32)[index]

        def get_config(self):
            fields = {"kind": type(self.schedule).__name__, **dataclasses.asdict(self.schedule)}
            return {"class_name": "tfopt>Schedule", "config": {"schedule": fields, "frequency": self.frequency}}

        @classmethod
        def from_config(cls, config):
            fields = dict(config["schedule"])
            return cls(getattr(schedules, fields.pop("kind"))(**fields), config["frequency"])

    return Schedule


@functools.cache
def _sparsity_callback():
    """The class of the callback that places the schedules and checks what came of them."""
    import tf_keras

    class Sparsity(tf_keras.callbacks.Callback):
        """Places the schedules in a run and looks at the sparsity."""

        def on_train_begin(self, logs=None):
            """Finds the layers."""
            require_keras2(self.model, "pruning_callbacks")
            self.wrappers = wrapped_layers(self.model)
            foreign = [each.name for each in self.wrappers if not isinstance(each.pruning_schedule, _tfmot_schedule())]
            if foreign or not self.wrappers:
                raise errors.ArgumentError(
                    "the model must come from tfopt.legacy.prune. Received: "
                    f"{describe(self.model)}, {'with a schedule of tfmot' if foreign else 'which has no pruned layer'}."
                )
            self.placed = False

        def on_epoch_begin(self, epoch, logs=None):
            """Places the schedules: only now other callbacks have restored an interrupted run."""
            if self.placed:
                return
            now = self._step()
            start, total = options.span(now, epoch, self.params.get("epochs"), self.params.get("steps"))
            for wrapper in self.wrappers:
                own = wrapper.pruning_schedule
                own.run = place(own.schedule, own.frequency, start, total, now, least_sparsity(wrapper))
                own.iterations = self.model.optimizer.iterations
            self.model.make_train_function(force=True)  # the table is a constant of its graph
            self.placed = True

        def on_epoch_end(self, epoch, logs=None):
            """Makes the masks that are due after the last step, which tfmot leaves to the next, and adds the sparsity."""
            self.model.distribute_strategy.run(self._update)
            if logs is not None:
                values = [weight.numpy() for wrapper in self.wrappers for weight, *_ in wrapper.pruning_vars]
                logs["sparsity"] = 1 - sum(int(np.count_nonzero(value)) for value in values) / sum(value.size for value in values)

        def on_train_end(self, logs=None):
            """Compares the sparsity with the target."""
            if self.placed:
                check_target(self.wrappers, self._step())

        def _update(self):
            for wrapper in self.wrappers:
                wrapper.pruning_obj.weight_mask_op()
                wrapper.pruning_obj.conditional_mask_update()
                wrapper.pruning_obj.weight_mask_op()

        def _step(self):
            return int(self.model.optimizer.iterations.numpy())

    return Sparsity
