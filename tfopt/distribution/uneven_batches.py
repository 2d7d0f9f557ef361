"""A batch whose size the replicas cannot divide: each sample counts alike, and a replica without samples changes nothing."""

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
    """Makes `train_step`, `test_step` and `compute_loss` for one model, with which batches may have any number of samples.

    Keras averages the mean losses of the `R` replicas, `1/R sum_r L_r`, in which a sample of a small part of the batch counts more.
    The gradient here is that of the mean over all `N` samples, `1/N sum_r n_r L_r`: each replica weights its gradient by
    `R n_r / N`. A replica without samples would compute means over nothing, which are NaN. It computes on one sample of zeros
    instead, its loss counts 0, and its metrics and moving statistics are restored.

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
        samples = tf.shape(leaves[0])[0]
        is_empty = tf.equal(samples, 0)
        variables = [
            variable.value for variable in [*model.non_trainable_variables, *model.metrics_variables] if is_local(variable)
        ]
        before = [tf.identity(variable) for variable in variables]
        state.is_empty = is_empty
        state.share = _share(samples) if name == "train_step" and _is_mean_over_samples(model) else None
        try:
            logs = own(name)(keras.tree.map_structure(lambda part: _or_zeros(part, is_empty), data))
        finally:
            state.is_empty = state.share = None
        for variable, value in zip(variables, before, strict=True):
            variable.assign(tf.where(is_empty, value, tf.identity(variable)))
        return logs

    def compute_loss(*args: Any, **kwargs: Any) -> tf.Tensor:
        loss = own("compute_loss")(*args, **kwargs)
        is_empty, share = getattr(state, "is_empty", None), getattr(state, "share", None)
        if is_empty is not None:
            loss = tf.where(is_empty, tf.zeros_like(loss), loss)
        return loss if share is None else _with_gradient(loss, tf.cast(share, loss.dtype))

    return {
        "train_step": functools.partial(step, "train_step"),
        "test_step": functools.partial(step, "test_step"),
        "compute_loss": compute_loss,
    }


def _is_mean_over_samples(model: keras.Model) -> bool:
    """Whether all losses given to `compile` divide by the number of samples; sums count each sample alike already."""
    losses = keras.tree.flatten(getattr(model, "loss", None))
    return all(getattr(loss, "reduction", "mean") in ("mean", "sum_over_batch_size") for loss in losses)


def _share(samples: tf.Tensor) -> tf.Tensor:
    """The weight of a replica with so many samples: 1 if all replicas have as many."""
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    own = tf.cast(samples, tf.float32)
    total = replica.all_reduce(tf.distribute.ReduceOp.SUM, own)
    return tf.math.divide_no_nan(own * replica.num_replicas_in_sync, total)


def _with_gradient(loss: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """The loss itself, as metrics weight it by the number of samples already, with `share` times its gradient."""
    import tensorflow as tf

    @tf.custom_gradient
    def weighted(value: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        return tf.identity(value), lambda upstream: upstream * share

    return weighted(loss)


def _or_zeros(part: tf.Tensor | None, is_empty: tf.Tensor) -> tf.Tensor | None:
    """The part of a batch, or one sample of zeros if it is empty."""
    import tensorflow as tf

    if part is None:
        return None
    sample = tf.concat([[1], tf.shape(part)[1:]], 0)
    chosen = tf.cond(is_empty, lambda: tf.zeros(sample, part.dtype), lambda: tf.identity(part))
    chosen.set_shape(part.shape)
    return chosen
