"""What Keras 3 lacks under MirroredStrategy and MultiWorkerMirroredStrategy: all that reaches into it, in this one place.

Seen in Keras 3.10 to 3.15 (keras-team/keras#20585). While a scope lasts, the constructor of Keras models hands a new model over,
and afterwards it is Keras' own again; all else is done to these models, one by one. No class, module or model of anybody else
changes.
"""

import contextlib
import functools
import threading

import keras

_LOCK = threading.Lock()
_STATE = {"depth": 0, "original": None}


def trainer_class():
    """The class behind `keras.Model` that knows strategies; Keras does not export it."""
    return next(each for each in keras.Model.__mro__ if each.__name__ == "TensorFlowTrainer")


@contextlib.contextmanager
def handing_over(take_over):
    """While it lasts, `take_over(model)` is called with each new model; scopes nest, and the threads of a strategy enter their own.

    Args:
        take_over: function of a Keras model of which only the part that trains exists as yet.
    """
    trainer = trainer_class()
    with _LOCK:
        if _STATE["depth"] == 0:
            _STATE["original"] = trainer.__init__
            trainer.__init__ = _then(trainer.__init__, take_over)
        _STATE["depth"] += 1
    try:
        yield
    finally:
        with _LOCK:
            _STATE["depth"] -= 1
            if _STATE["depth"] == 0:
                trainer.__init__ = _STATE["original"]


def _then(initialise, take_over):
    @functools.wraps(initialise)
    def __init__(self):
        initialise(self)
        take_over(self)

    return __init__


def repair(model):
    """Makes one model build from what one replica sees of a batch: Keras takes the mean of all, which needs equal shapes."""
    import tensorflow as tf

    def local(value):
        return value.values[0] if isinstance(value, tf.distribute.DistributedValues) else value

    def build(iterator=None, data_batch=None):
        if iterator is not None:
            _, _, batches = next(iter(iterator))
            data_batch = keras.tree.map_structure(local, next(batches))
        with model.distribute_strategy.scope():
            model._symbolic_build(data_batch=data_batch)

    vars(model)["_maybe_symbolic_build"] = build  # past what Keras does with attributes


def mean_axis(value, axis):
    """The axis that Keras should have said: it takes the mean of scalar logs along axis 0, which a scalar has not."""
    import tensorflow as tf

    parts = [part for each in tf.nest.flatten(value) for part in getattr(each, "values", (each,))]
    return None if axis == 0 and all(getattr(part, "shape", None) == () for part in parts) else axis


def restored_epoch(model):
    """The epoch with which `BackupAndRestore` wants `fit` to go on, or None."""
    return model._initial_epoch


def restore_epoch(model, epoch):
    """Makes `fit` go on with an epoch, as `BackupAndRestore` does."""
    model._initial_epoch = epoch
