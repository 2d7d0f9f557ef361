"""A batch with fewer samples than replicas leaves a replica without samples; it must not spoil the results of the others."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras

from tfopt.distribution.statistics import is_local

if TYPE_CHECKING:
    import tensorflow as tf


def guard(model: keras.Model, own: Callable[[str], Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Makes `train_step`, `test_step` and `compute_loss` for one model, with which a replica without samples changes nothing.

    Keras computes means over no samples, which are NaN, and so are the gradients and statistics that follow. Such a replica
    computes on one sample of zeros instead, its loss counts 0, and its metrics and moving statistics are restored.

    Args:
        model: Keras model.
        own: function of a name that returns the model's own method of this name.

    Returns:
        dict of the method's name -> function.
    """
    import tensorflow as tf

    state = threading.local()  # each replica of a strategy traces in its own thread

    def step(name: str, data: Any) -> dict[str, tf.Tensor]:
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

    def compute_loss(*args: Any, **kwargs: Any) -> tf.Tensor:
        loss = own("compute_loss")(*args, **kwargs)
        share = getattr(state, "share", None)
        return loss if share is None else loss * tf.cast(share, loss.dtype)

    return {
        "train_step": functools.partial(step, "train_step"),
        "test_step": functools.partial(step, "test_step"),
        "compute_loss": compute_loss,
    }


def _or_zeros(part: tf.Tensor | None, is_empty: tf.Tensor) -> tf.Tensor | None:
    """The part of a batch, or one sample of zeros if it is empty."""
    import tensorflow as tf

    if part is None:
        return None
    sample = tf.concat([[1], tf.shape(part)[1:]], 0)
    chosen = tf.cond(is_empty, lambda: tf.zeros(sample, part.dtype), lambda: tf.identity(part))
    chosen.set_shape(part.shape)
    return chosen
