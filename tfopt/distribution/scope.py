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
        distribute, policies = strategy.experimental_distribute_dataset, tf.data.experimental.AutoShardPolicy
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = getattr(policies, sharding.upper())

        def distribute_as_said(dataset, *args):
            is_open = dataset.options().experimental_distribute.auto_shard_policy == policies.AUTO
            return distribute(dataset.with_options(options) if is_open else dataset, *args)

        strategy.experimental_distribute_dataset = distribute_as_said


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
