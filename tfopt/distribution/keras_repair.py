"""Repairs for Keras 3 under MirroredStrategy and MultiWorkerMirroredStrategy: everything that uses private Keras, in one place.

Seen in Keras 3.10 to 3.15 (keras-team/keras#20585). While a scope lasts, the constructor of Keras models passes each new model to
tfopt; after the scope the constructor is Keras' own again. The functions with which `keras.saving` writes a model ask these models
where to write. All other repairs are methods of these models alone. Other models are trained and saved as before.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    import tensorflow as tf

_LOCK = threading.Lock()
_WRITE = "_tfopt_write"  # the attribute of a model with the function that chooses where it is written
_STATE: dict[str, Any] = {"depth": 0, "original": None}


def trainer_class() -> type[Any]:
    """Returns the base class of `keras.Model` that knows strategies; Keras does not export it."""
    return next(each for each in keras.Model.__mro__ if each.__name__ == "TensorFlowTrainer")


@contextlib.contextmanager
def handing_over(take_over: Callable[[keras.Model], None]) -> Iterator[None]:
    """While the context lasts, calls `take_over(model)` with each new model.

    Contexts nest, and the threads of a strategy enter their own.

    Args:
        take_over: function of a new Keras model, of which only the attributes for training exist yet.
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


def _then(initialize: Callable[[keras.Model], None], take_over: Callable[[keras.Model], None]) -> Callable[[keras.Model], None]:
    @functools.wraps(initialize)
    def __init__(self: keras.Model) -> None:
        initialize(self)
        take_over(self)

    return __init__


def repair(model: keras.Model) -> None:
    """Makes one model build from the shapes of the data.

    Keras builds from the mean of the replicas' parts of the first batch instead, and that batch is then lost for training.
    """
    import tensorflow as tf

    def local(value: Any) -> Any:
        return value.values[0] if isinstance(value, tf.distribute.DistributedValues) else value

    def build(iterator: Any = None, data_batch: Any = None) -> None:
        if iterator is not None:
            data_batch = iterator.data_adapter.get_tf_dataset().element_spec
            if not all(isinstance(spec, tf.TensorSpec) and spec.shape.rank for spec in tf.nest.flatten(data_batch)):
                _, _, batches = next(iter(iterator))
                data_batch = keras.tree.map_structure(local, next(batches))
        with model.distribute_strategy.scope():
            model._symbolic_build(data_batch=data_batch)

    vars(model)["_maybe_symbolic_build"] = build  # around Keras' tracking of attributes


def write_through(model: keras.Model, write: Callable[[Callable[[Any], Any], Any], Any]) -> None:
    """Makes `keras.saving.save_model(model, path)` and `save_weights` write one model as its own method `save` does.

    Args:
        model: Keras model.
        write: function of a function that writes to the path that it is given, and of the path that the caller named.
    """
    namespace = keras.saving.save_model.__globals__
    written = {"saving_lib": ("save_model", "save_weights_only"), "legacy_h5_format": ("save_model_to_hdf5",)}
    for module, names in written.items():
        for name in names:
            function = getattr(namespace[module], name)
            if not hasattr(function, "asks_models"):
                setattr(namespace[module], name, _asking(function))
    vars(model)[_WRITE] = write


def _asking(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def asking(model: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        write = vars(model).get(_WRITE)
        if write is None:
            return function(model, filepath, *args, **kwargs)
        return write(lambda path: function(model, path, *args, **kwargs), filepath)

    asking.asks_models = True  # type: ignore[attr-defined]
    return asking


def repeat_steps(model: keras.Model) -> None:
    """Makes one model run a single step `steps_per_execution` times, as Keras' loop in the graph fails with several replicas.

    Callbacks are called as rarely as by Keras, but the time that the loop in the graph saves is not saved.
    """

    def make_function(step_function: Callable[..., Any]) -> Callable[[Iterator[Any]], Any]:
        run: Callable[[Iterator[Any]], Any] = type(model)._make_function(model, step_function)
        if model.steps_per_execution == 1:
            return run

        def function(iterator: Iterator[Any]) -> Any:
            logs = None
            # The data come first: a step that finds no data in the graph has already changed variables such as counts.
            for data in itertools.islice(iterator, model.steps_per_execution):
                logs = run(iter([data]))
            if logs is None:
                raise StopIteration
            return logs

        return function

    vars(model)["_make_function"] = make_function


def reducible(strategy: tf.distribute.Strategy, value: Any, axis: int | None) -> tuple[Any, int | None]:
    """Returns (value, axis) as `strategy.reduce` needs them.

    Keras takes the mean of scalar logs along axis 0, although a scalar has no axis, and of a metric's result, which may be a
    variable.
    """
    import tensorflow as tf

    def on_a_device(part: Any) -> Any:
        if isinstance(part, tf.distribute.DistributedValues) or (isinstance(part, tf.Tensor) and part.device):
            return part
        with tf.device(strategy.extended.worker_devices[0]):
            return tf.identity(part)

    parts = [part for each in tf.nest.flatten(value) for part in getattr(each, "values", (each,))]
    axis = None if axis == 0 and all(getattr(part, "shape", None) == () for part in parts) else axis
    return tf.nest.map_structure(on_a_device, value), axis


def restored_epoch(model: keras.Model) -> int | None:
    """Returns the epoch at which `BackupAndRestore` makes `fit` continue, or None if nothing was restored."""
    epoch: int | None = model._initial_epoch
    return epoch


def restore_epoch(model: keras.Model, epoch: int) -> None:
    """Makes `fit` continue at an epoch (counted from 0), as `BackupAndRestore` does."""
    model._initial_epoch = epoch
