"""Random numbers that workers share: each worker shuffles all data and keeps its part, so all must shuffle alike."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

import numpy as np

from tfopt.distribution import collective

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.distribution.cluster import Workers


def agree(strategy: tf.distribute.MultiWorkerMirroredStrategy, workers: Workers) -> int | None:
    """Seeds the random numbers of TensorFlow, Python and NumPy alike on all workers, where they differ.

    Args:
        strategy: the multi-worker strategy of this process.
        workers: the processes that train together.

    Returns:
        The new seed, or None if the program has seeded all workers alike already.
    """
    import tensorflow as tf

    seed = tf.compat.v1.get_seed(None)  # the public way to read it: (global seed, seed of the next op), or two Nones
    states = [seed, random.getstate(), np.random.get_state()]
    marks = [int(hashlib.sha256(repr(state).encode()).hexdigest()[:7], 16) for state in states]
    gathered = collective.gather(strategy, workers, [*marks, random.SystemRandom().randrange(2**31)])
    differ = [len(set(column)) > 1 for column in gathered[:, :3].T]
    differ[0] = differ[0] or seed[0] is None
    agreed = int(gathered[0, 3])
    for differs, seed_it in zip(differ, (tf.random.set_seed, random.seed, np.random.seed), strict=True):
        if differs:
            seed_it(agreed)
    return agreed if any(differ) else None
