"""Random numbers that workers share: each shuffles for itself and keeps its part, so that all must shuffle alike."""

import hashlib
import random

import numpy as np

from tfopt.distribution import collective


def agree(strategy, workers):
    """Seeds TensorFlow's, Python's and NumPy's random numbers alike on all workers, where they are not yet.

    Args:
        strategy: `tf.distribute.MultiWorkerMirroredStrategy`.
        workers: `cluster.Workers`.

    Returns:
        int, the new seed, or None if all workers had seeded alike.
    """
    import tensorflow as tf

    seed = tf.compat.v1.get_seed(None)  # the public way to read it: (global, of the next op), or two Nones
    states = [seed, random.getstate(), np.random.get_state()]
    marks = [int(hashlib.sha256(repr(state).encode()).hexdigest()[:7], 16) for state in states]
    said = collective.gather(strategy, workers, [*marks, random.SystemRandom().randrange(2**31)])
    differ = [len(set(column)) > 1 for column in said[:, :3].T]
    differ[0] = differ[0] or seed[0] is None
    agreed = int(said[0, 3])
    for differs, seed_it in zip(differ, (tf.random.set_seed, random.seed, np.random.seed), strict=True):
        if differs:
            seed_it(agreed)
    return agreed if any(differ) else None
