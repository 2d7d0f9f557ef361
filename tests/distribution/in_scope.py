"""Train in the scope of a strategy, and compare with the same training without one."""

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


def require_equal(folder, workers, alone):
    """Fails if the findings of a worker are not those of one device.

    Args:
        folder: of the findings that `save_found` wrote.
        workers: how many there are.
        alone: the findings of one device.
    """
    files = sorted(folder.iterdir())
    assert len(files) == workers
    for file in files:
        with np.load(file) as found:
            differences = {key: np.abs(found[key] - alone[key]).max() for key in alone}
        assert max(differences.values()) <= 1e-5, differences
