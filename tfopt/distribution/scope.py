"""The scope of a strategy, in which new models get the methods with which they train under it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from tfopt.distribution import fitting, keras_repair

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfopt.distribution.cluster import Workers

SHARDING = ("auto", "data", "file", "off")
Sharding = Literal["auto", "data", "file", "off"]


def attach(strategy: tf.distribute.Strategy, workers: Workers | None = None, sharding: Sharding | None = None) -> None:
    """Gives one strategy a scope that repairs Keras 3 for the models made in it.

    Args:
        strategy: the strategy, which is changed.
        workers: the workers of a multi-worker strategy; None (default) for any other strategy.
        sharding: how workers divide a `tf.data` pipeline; None (default) leaves the choice to TensorFlow.
    """
    import tensorflow as tf

    if strategy.num_replicas_in_sync > 1 and not isinstance(strategy, tf.distribute.TPUStrategy):
        scope, reduce, distribute_any = strategy.scope, strategy.reduce, strategy.experimental_distribute_dataset
        strategy.scope = lambda: _scope(strategy, workers, scope())
        strategy.reduce = lambda op, value, axis: reduce(op, *keras_repair.reducible(strategy, value, axis))
        strategy.experimental_distribute_dataset = lambda dataset, *args: distribute_any(_with_own_memory(dataset), *args)
    if sharding is not None:
        distribute, policies = strategy.experimental_distribute_dataset, tf.data.experimental.AutoShardPolicy
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = getattr(policies, sharding.upper())

        def distribute_by_policy(dataset: tf.data.Dataset, *args: Any) -> tf.distribute.DistributedDataset:
            has_no_policy = dataset.options().experimental_distribute.auto_shard_policy == policies.AUTO
            return distribute(dataset.with_options(options) if has_no_policy else dataset, *args)

        strategy.experimental_distribute_dataset = distribute_by_policy


def _with_own_memory(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """A dataset whose batches share no memory with NumPy arrays.

    TensorFlow does not copy the arrays that a Python generator yields. A step that holds the only reference to its part of a batch
    writes results into this memory, and so into the user's array.
    """
    import tensorflow as tf

    def copy(part: Any) -> Any:
        is_number = isinstance(part, tf.Tensor) and part.dtype not in (tf.string, tf.variant, tf.resource)
        return tf.raw_ops.DeepCopy(x=part) if is_number else part

    def copies(*parts: Any) -> Any:
        return tf.nest.map_structure(copy, parts if isinstance(dataset.element_spec, tuple) else parts[0], expand_composites=True)

    return dataset.map(copies)


@contextlib.contextmanager
def _scope(
    strategy: tf.distribute.Strategy, workers: Workers | None, scope: contextlib.AbstractContextManager[object]
) -> Iterator[tf.distribute.Strategy]:
    def take_over(model: keras.Model) -> None:
        if model.distribute_strategy is strategy:
            fitting.attach(model, strategy, workers)
            keras_repair.repair(model)
            keras_repair.repeat_steps(model)

    with keras_repair.handing_over(take_over), scope:
        yield strategy
