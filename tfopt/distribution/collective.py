"""What workers tell each other outside of training steps; each function must be called by all of them, in the same order."""

import functools

import numpy as np

_CHUNK = 1 << 24  # of 4 bytes


def gather(strategy, workers, values):
    """What every worker says, known to all.

    Args:
        strategy: `tf.distribute.MultiWorkerMirroredStrategy`.
        workers: `cluster.Workers`.
        values: n ints of this worker, from 0 to 2^31 - 1.

    Returns:
        int32 array (workers, n).
    """
    said = np.zeros((workers.count, len(values)), "int32")
    said[workers.index] = values
    return _sum(strategy, said.reshape(-1)).reshape(said.shape)


def broadcast(strategy, workers, variables):
    """Puts the chief's values into the variables of all workers.

    Args:
        strategy, workers: as for `gather`.
        variables: list of Keras variables.
    """
    values = [np.asarray(variable.numpy()) for variable in variables]
    content = b"".join(value.tobytes() for value in values)
    bits = np.frombuffer(content + bytes(-len(content) % 4), "int32")
    if workers.index != 0:
        bits = np.zeros_like(bits)  # the chief's and zeros add up to the chief's, bit by bit
    content = b"".join(_sum(strategy, bits[start : start + _CHUNK]).tobytes() for start in range(0, len(bits), _CHUNK))
    start = 0
    for variable, value in zip(variables, values, strict=True):
        variable.assign(np.frombuffer(content, value.dtype, value.size, start).reshape(value.shape))
        start += value.nbytes


def _sum(strategy, array):
    """The sum over workers of an int32 vector, of which the first local replica speaks."""
    import tensorflow as tf

    return strategy.experimental_local_results(_adder(strategy)(tf.constant(array)))[0].numpy()


@functools.cache
def _adder(strategy):
    import tensorflow as tf

    local = strategy.extended.worker_devices

    def on_replica(tensor):
        context = tf.distribute.get_replica_context()
        is_first = context.replica_id_in_sync_group % len(local) == 0
        return context.all_reduce("SUM", tensor if is_first else tf.zeros_like(tensor))

    return tf.function(lambda tensor: strategy.run(on_replica, args=(tensor,)))
