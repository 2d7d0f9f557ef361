"""The scope of a strategy, in which each new model learns to train under it."""

import contextlib

from tfopt.distribution import backup, fitting, keras_repair


def attach(strategy, workers=None, sharding=None):
    """Gives one strategy a scope that repairs Keras 3 for the models made in it.

    Args:
        strategy: `tf.distribute.Strategy`.
        workers: `cluster.Workers` of a multi-worker strategy.
        sharding: None, "auto", "data", "file" or "off".
    """
    import tensorflow as tf

    if strategy.num_replicas_in_sync > 1 and not isinstance(strategy, tf.distribute.TPUStrategy):
        scope, reduce, distribute_any = strategy.scope, strategy.reduce, strategy.experimental_distribute_dataset
        strategy.scope = lambda: _scope(strategy, workers, scope())
        strategy.reduce = lambda op, value, axis: reduce(op, *keras_repair.what_to_reduce(strategy, value, axis))
        strategy.experimental_distribute_dataset = lambda dataset, *args: distribute_any(_in_memory_of_its_own(dataset), *args)
    if sharding is not None:
        distribute, policies = strategy.experimental_distribute_dataset, tf.data.experimental.AutoShardPolicy
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = getattr(policies, sharding.upper())

        def distribute_as_said(dataset, *args):
            is_open = dataset.options().experimental_distribute.auto_shard_policy == policies.AUTO
            return distribute(dataset.with_options(options) if is_open else dataset, *args)

        strategy.experimental_distribute_dataset = distribute_as_said


def _in_memory_of_its_own(dataset):
    """A dataset whose batches share no memory with NumPy arrays.

    TensorFlow hands on what a Python generator yields without a copy, and a step that is alone with its part of a batch writes
    results into it: into the user's array.
    """
    import tensorflow as tf

    def copy(part):
        is_number = isinstance(part, tf.Tensor) and part.dtype not in (tf.string, tf.variant, tf.resource)
        return tf.raw_ops.DeepCopy(x=part) if is_number else part

    def copies(*parts):
        return tf.nest.map_structure(copy, parts if isinstance(dataset.element_spec, tuple) else parts[0], expand_composites=True)

    return dataset.map(copies)


@contextlib.contextmanager
def _scope(strategy, workers, scope):
    def take_over(model):
        if model.distribute_strategy is strategy:
            fitting.attach(model, strategy, workers)
            backup.attach(model, workers is None or workers.index == 0)
            keras_repair.repair(model)
            keras_repair.repeat_steps(model)

    with keras_repair.handing_over(take_over), scope:
        yield strategy
