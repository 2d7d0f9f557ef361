"""Values that workers exchange outside of training steps. All workers must call each function, in the same order."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras
    import numpy.typing as npt
    import tensorflow as tf

    from tfopt.distribution.cluster import Workers

_CHUNK = 1 << 24  # elements of 4 bytes


def gather(strategy: tf.distribute.MultiWorkerMirroredStrategy, workers: Workers, values: Sequence[int]) -> npt.NDArray[np.int32]:
    """Collects the values of every worker on all workers.

    Args:
        strategy: the multi-worker strategy of this process.
        workers: the processes that train together.
        values: n integers of this worker, from 0 to 2^31 - 1.

    Returns:
        int32 array of shape (workers, n); the row is the index of the worker.
    """
    table = np.zeros((workers.count, len(values)), "int32")
    table[workers.index] = values
    return _sum(strategy, table.reshape(-1)).reshape(table.shape)


def broadcast(strategy: tf.distribute.MultiWorkerMirroredStrategy, workers: Workers, variables: Sequence[keras.Variable]) -> None:
    """Assigns the chief's values to the variables of all workers.

    Args:
        strategy: the multi-worker strategy of this process.
        workers: the processes that train together.
        variables: Keras variables, the same on every worker and in the same order.
    """
    values = [np.asarray(variable.numpy()) for variable in variables]
    content = b"".join(value.tobytes() for value in values)
    bits = np.frombuffer(content + bytes(-len(content) % 4), "int32")
    if workers.index != 0:
        bits = np.zeros_like(bits)  # the chief's bits and zeros add up to the chief's bits
    content = b"".join(_sum(strategy, bits[start : start + _CHUNK]).tobytes() for start in range(0, len(bits), _CHUNK))
    start = 0
    for variable, value in zip(variables, values, strict=True):
        variable.assign(np.frombuffer(content, value.dtype, value.size, start).reshape(value.shape))
        start += value.nbytes


def _sum(strategy: tf.distribute.MultiWorkerMirroredStrategy, array: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The sum over workers of an int32 vector; the first local replica of a worker contributes it."""
    import tensorflow as tf

    total: npt.NDArray[np.int32] = strategy.experimental_local_results(_adder(strategy)(tf.constant(array)))[0].numpy()
    return total


@functools.cache
def _adder(strategy: tf.distribute.MultiWorkerMirroredStrategy) -> Callable[[tf.Tensor], tf.distribute.DistributedValues]:
    import tensorflow as tf

    local = strategy.extended.worker_devices

    def on_replica(tensor: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        is_first = context.replica_id_in_sync_group % len(local) == 0
        return context.all_reduce("SUM", tensor if is_first else tf.zeros_like(tensor))

    def add(tensor: tf.Tensor) -> tf.distribute.DistributedValues:
        return strategy.run(on_replica, args=(tensor,))

    adder: Callable[[tf.Tensor], tf.distribute.DistributedValues] = tf.function(add)
    return adder
