"""Train in the scope of a strategy, for comparison with the same training without one."""

import numpy as np


def save_found(strategy, worker, folder, train):
    """Writes what `train` found on one worker into `folder`.

    Args:
        strategy: in whose scope the models are built.
        worker: its number.
        folder: of the findings of all workers.
        train: function of a function that takes a function, which builds a model, and calls it; returns a dict of arrays.
    """

    def in_scope(build):
        with strategy.scope():
            return build()

    np.savez(folder / f"found.{worker}.npz", **train(in_scope))
