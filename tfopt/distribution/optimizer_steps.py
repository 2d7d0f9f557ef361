"""An optimizer that applies the sum of the gradients of all replicas as one device would apply it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    import tensorflow as tf


def attach(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes one optimizer sum the gradients of the replicas before it does anything else with them.

    Keras sums them last. Each replica clips, and looks for infinities in, its own part before, so that the sum is another one than
    on one device. `gradient_accumulation_steps` and `ema_overwrite_frequency` fail, because their conditions are in the context of
    a replica, from which nothing conditional may lead to the other replicas (seen in Keras 3.15).

    Args:
        optimizer: Keras optimizer made in the scope of a strategy with several replicas; a `LossScaleOptimizer` has another one
            within it.
    """
    if "apply" in vars(optimizer):
        return
    inner = optimizer
    while hasattr(inner, "inner_optimizer"):
        inner = inner.inner_optimizer
    own_apply, own_steps = optimizer.apply, inner._backend_apply_gradients

    def apply(grads: Sequence[tf.Tensor | None], trainable_variables: Any = None) -> None:
        own_apply(_sum(grads), trainable_variables)

    def backend_apply_gradients(grads: Sequence[tf.Tensor], trainable_variables: Sequence[keras.Variable]) -> None:
        if _is_replica() and (inner.gradient_accumulation_steps or (inner.use_ema and inner.ema_overwrite_frequency)):
            _apply(inner, grads, trainable_variables)
        else:
            own_steps(grads, trainable_variables)

    vars(inner)["_backend_apply_gradients"] = backend_apply_gradients
    vars(inner)["_all_reduce_sum_gradients"] = list  # they are summed
    vars(optimizer)["apply"] = functools.wraps(type(optimizer).apply)(apply)


def _is_replica() -> bool:
    import tensorflow as tf

    return tf.distribute.get_replica_context() is not None


def _sum(grads: Sequence[tf.Tensor | None]) -> list[tf.Tensor | None]:
    """The sums of the gradients over all replicas, on each of them."""
    import tensorflow as tf

    present = [grad for grad in grads if grad is not None]
    if not _is_replica() or not present:
        return list(grads)
    summed = iter(tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, present))
    return [None if grad is None else next(summed) for grad in grads]


def _apply(optimizer: keras.optimizers.Optimizer, grads: Sequence[tf.Tensor], variables: Sequence[keras.Variable]) -> None:
    """`_backend_apply_gradients` of Keras, with its conditions in the context across replicas."""
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    steps = optimizer.gradient_accumulation_steps

    def update(grads: Sequence[tf.Tensor]) -> None:
        grads = optimizer._clip_gradients(list(grads))
        optimizer._apply_weight_decay(variables)
        optimizer._backend_update_step(grads, variables, optimizer.learning_rate)

    if steps:
        kept = [optimizer._accumulated_gradients[optimizer._get_variable_index(variable)] for variable in variables]

        def accumulate_or_update(strategy: tf.distribute.Strategy, grads: Sequence[Any]) -> None:
            def assign(values: Sequence[Any], change: Callable[..., Any]) -> None:
                for accumulator, value in zip(kept, values, strict=True):
                    strategy.extended.update(accumulator.value, change, args=(value,), group=False)

            def all_steps() -> None:
                assign(grads, lambda kept, grad: kept.assign((kept + grad) / steps))
                strategy.extended.call_for_each_replica(lambda: update([tf.identity(each.value) for each in kept]))
                assign(grads, lambda kept, _: kept.assign(tf.zeros_like(kept)))

            is_last = tf.equal((tf.convert_to_tensor(optimizer._iterations.value) + 1) % steps, 0)
            tf.cond(is_last, all_steps, lambda: assign(grads, lambda kept, grad: kept.assign(kept + grad)))

        replica.merge_call(accumulate_or_update, args=([tf.convert_to_tensor(grad) for grad in grads],))
    else:
        update(grads)
    if not optimizer.use_ema:
        return
    optimizer._update_model_variables_moving_average(optimizer._trainable_variables)
    if optimizer.ema_overwrite_frequency:

        def overwrite_or_not(_: tf.distribute.Strategy) -> None:
            is_due = tf.equal((tf.convert_to_tensor(optimizer.iterations) + 1) % optimizer.ema_overwrite_frequency, 0)
            average = optimizer._overwrite_model_variables_with_average_value
            tf.cond(is_due, lambda: average(optimizer._trainable_variables), lambda: None)

        replica.merge_call(overwrite_or_not)
