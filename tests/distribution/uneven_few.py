"""The same as `uneven.py` on a few of its sizes."""

import functools

from in_scope import save_found
from uneven import train

REDUCTIONS = {"sum_over_batch_size": (17, 47, 107), "sum": (23,)}


def run(strategy, worker, folder):
    """Writes the findings of one worker into `folder`."""
    save_found(strategy, worker, folder, functools.partial(train, reductions=REDUCTIONS))
