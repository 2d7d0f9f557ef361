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
        scope, reduce = strategy.scope, strategy.reduce
        strategy.scope = lambda: _scope(strategy, workers, scope())
        strategy.reduce = lambda op, value, axis: reduce(op, *keras_repair.what_to_reduce(strategy, value, axis))
    if sharding is not None:
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = getattr(tf.data.experimental.AutoShardPolicy, sharding.upper())
        distribute = strategy.experimental_distribute_dataset
        strategy.experimental_distribute_dataset = lambda dataset, *args: distribute(dataset.with_options(options), *args)


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
