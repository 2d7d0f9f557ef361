"""A batch of fewer samples than replicas leaves some replica without any; it must not spoil what the others computed."""

import functools
import threading

import keras

from tfopt.distribution.statistics import is_local


def guard(model, own):
    """`train_step`, `test_step` and `compute_loss` for one model, by which a replica without samples changes nothing.

    Keras' means over no samples are NaN, and so are then gradients and statistics. Such a replica computes on one sample of zeros
    instead, its loss counts 0, and its metrics and moving statistics are put back.

    Args:
        model: Keras model.
        own: function of a name that returns the model's own method.

    Returns:
        dict of name -> function.
    """
    import tensorflow as tf

    state = threading.local()  # each replica of a strategy traces in its own thread

    def step(name, data):
        leaves = [part for part in keras.tree.flatten(data) if part is not None]
        are_dense = all(isinstance(part, tf.Tensor) and part.shape.rank for part in leaves)
        if not leaves or not are_dense or leaves[0].shape[0] is not None:
            return own(name)(data)
        is_empty = tf.equal(tf.shape(leaves[0])[0], 0)
        variables = [
            variable.value for variable in [*model.non_trainable_variables, *model.metrics_variables] if is_local(variable)
        ]
        before = [tf.identity(variable) for variable in variables]
        state.share = tf.where(is_empty, 0.0, 1.0)
        try:
            logs = own(name)(keras.tree.map_structure(lambda part: _or_zeros(part, is_empty), data))
        finally:
            state.share = None
        for variable, value in zip(variables, before, strict=True):
            variable.assign(tf.where(is_empty, value, tf.identity(variable)))
        return logs

    def compute_loss(*args, **kwargs):
        loss = own("compute_loss")(*args, **kwargs)
        share = getattr(state, "share", None)
        return loss if share is None else loss * tf.cast(share, loss.dtype)

    return {name: functools.partial(step, name) for name in ("train_step", "test_step")} | {"compute_loss": compute_loss}


def _or_zeros(part, is_empty):
    """A tensor, or one sample of zeros in its place."""
    import tensorflow as tf

    if part is None:
        return None
    sample = tf.concat([[1], tf.shape(part)[1:]], 0)
    chosen = tf.cond(is_empty, lambda: tf.zeros(sample, part.dtype), lambda: tf.identity(part))
    chosen.set_shape(part.shape)
    return chosen
