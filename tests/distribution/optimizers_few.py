"""The same as `optimizers.py` with a few of its optimizers."""

import functools

from in_scope import save_found
from optimizers import FEW, train


def run(strategy, worker, folder):
    """Writes the findings of one worker into `folder`."""
    save_found(strategy, worker, folder, functools.partial(train, optimizers=FEW))
