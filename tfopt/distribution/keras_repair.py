"""What Keras 3 lacks under MirroredStrategy and MultiWorkerMirroredStrategy: all that reaches into it, in this one place.

Seen in Keras 3.10 to 3.15 (keras-team/keras#20585). While a scope lasts, the constructor of Keras models hands a new model over,
and afterwards it is Keras' own again; all else is done to these models, one by one. No class, module or model of anybody else
changes.
"""

import contextlib
import functools
import itertools
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
    """Makes one model build from the shapes of the data: Keras takes the mean of what replicas see of a batch, and uses it up."""
    import tensorflow as tf

    def local(value):
        return value.values[0] if isinstance(value, tf.distribute.DistributedValues) else value

    def build(iterator=None, data_batch=None):
        if iterator is not None:
            data_batch = iterator.data_adapter.get_tf_dataset().element_spec
            if not all(isinstance(spec, tf.TensorSpec) and spec.shape.rank for spec in tf.nest.flatten(data_batch)):
                _, _, batches = next(iter(iterator))
                data_batch = keras.tree.map_structure(local, next(batches))
        with model.distribute_strategy.scope():
            model._symbolic_build(data_batch=data_batch)

    vars(model)["_maybe_symbolic_build"] = build  # past what Keras does with attributes


def repeat_steps(model):
    """Makes `steps_per_execution` of one model so many runs of one step: Keras' loop in the graph fails under replicas.

    Callbacks are called as rarely as with Keras; the time that the loop saves is not saved.
    """

    def make_function(step_function):
        run = type(model)._make_function(model, step_function)
        if model.steps_per_execution == 1:
            return run

        def function(iterator):
            logs = None
            # Data first: a step that finds none in the graph has by then changed what does not depend on them, such as counts.
            for data in itertools.islice(iterator, model.steps_per_execution):
                logs = run(iter([data]))
            if logs is None:
                raise StopIteration
            return logs

        return function

    vars(model)["_make_function"] = make_function


def what_to_reduce(strategy, value, axis):
    """(value, axis) as `strategy.reduce` needs them.

    Keras takes the mean of scalar logs along axis 0, which a scalar has not, and of what a metric returns: a variable, perhaps.
    """
    import tensorflow as tf

    def on_a_device(part):
        if isinstance(part, tf.distribute.DistributedValues) or (isinstance(part, tf.Tensor) and part.device):
            return part
        with tf.device(strategy.extended.worker_devices[0]):
            return tf.identity(part)

    parts = [part for each in tf.nest.flatten(value) for part in getattr(each, "values", (each,))]
    axis = None if axis == 0 and all(getattr(part, "shape", None) == () for part in parts) else axis
    return tf.nest.map_structure(on_a_device, value), axis


def restored_epoch(model):
    """The epoch with which `BackupAndRestore` wants `fit` to go on, or None."""
    return model._initial_epoch


def restore_epoch(model, epoch):
    """Makes `fit` go on with an epoch, as `BackupAndRestore` does."""
    model._initial_epoch = epoch
