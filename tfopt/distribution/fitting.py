"""What a model under a strategy does besides training: statistics in step before they are read, files from the chief alone."""

import contextlib
import functools
import inspect
import pathlib
import tempfile

import keras

from tfopt.distribution import empty_batches
from tfopt.distribution.agreement import Agreement
from tfopt.distribution.statistics import Aggregation, Statistics
from tfopt.errors import ArgumentError

# What callbacks of a worker that is not the chief write elsewhere, while `fit` lasts.
_PATHS = {
    keras.callbacks.ModelCheckpoint: "filepath",
    keras.callbacks.CSVLogger: "filename",
    keras.callbacks.TensorBoard: "log_dir",
}


def attach(model, strategy, workers):
    """Gives one model methods of its own in the place of `fit`, `evaluate`, `predict` and those that write files.

    Args:
        model: Keras model that has just been made.
        strategy: its `tf.distribute.Strategy`.
        workers: `cluster.Workers`, or None if there is only this one.
    """
    statistics = Statistics(model, strategy)
    is_chief = workers is None or workers.index == 0

    def own(name):
        return functools.partial(getattr(type(model), name), model)

    def compile(*args, **kwargs):
        with strategy.scope():
            own("compile")(*args, **kwargs)
        given = inspect.signature(keras.Model.compile).bind(model, *args, **kwargs).arguments
        _check_made_in_scope({name: given.get(name) for name in ("optimizer", "metrics", "weighted_metrics")})

    def fit(*args, **kwargs):
        args, kwargs = _arguments("fit", args, kwargs, is_chief)
        given = kwargs.get("callbacks")
        if isinstance(given, keras.callbacks.CallbackList):
            return own("fit")(*args, **kwargs)
        callbacks = keras.tree.flatten(given) if given else []
        agreement = [] if workers is None else [Agreement(strategy, workers)]
        with contextlib.nullcontext(callbacks) if is_chief else _writing_elsewhere(callbacks) as callbacks:
            return own("fit")(*args, **{**kwargs, "callbacks": [Aggregation(statistics), *callbacks, *agreement]})

    def train_on_batch(*args, **kwargs):
        statistics.stale = True
        return own("train_on_batch")(*args, **kwargs)

    def reader(name):
        def read(*args, **kwargs):
            statistics.aggregate()
            args, kwargs = _arguments(name, args, kwargs, is_chief)
            return own(name)(*args, **kwargs)

        return read

    def writer(name):
        def write(filepath, *args, **kwargs):
            statistics.aggregate()
            if is_chief:
                return own(name)(filepath, *args, **kwargs)
            # Some variables can be read by all workers together only: each saves, and what the others wrote goes.
            with tempfile.TemporaryDirectory() as folder:
                return own(name)(str(pathlib.Path(folder, pathlib.Path(filepath).name)), *args, **kwargs)

        return write

    made = {"compile": compile, "fit": fit, "train_on_batch": train_on_batch}
    made |= {name: reader(name) for name in ("evaluate", "predict")}
    made |= {name: writer(name) for name in ("save", "save_weights", "export")}
    made |= empty_batches.guard(model, own)
    vars(model).update({name: functools.wraps(getattr(type(model), name))(function) for name, function in made.items()})


def _check_made_in_scope(given):
    """What has variables of its own must keep them on every replica."""
    import tensorflow as tf

    for name, value in given.items():
        for each in keras.tree.flatten(value):
            variables = each.variables if isinstance(each, keras.optimizers.Optimizer | keras.metrics.Metric) else []
            if any(not isinstance(variable.value, tf.distribute.DistributedValues) for variable in variables):
                raise ArgumentError(
                    f"what compile() is given must be made in the scope of the model's strategy. Received: {name} with "
                    f"{type(each).__name__} {each.name!r}, made outside. Make it in `with strategy.scope():`, or give a name."
                )


def _arguments(name, args, kwargs, is_chief):
    """(args, kwargs) with `verbose` and what follows by name; progress is shown by the chief."""
    names = [each for each in inspect.signature(getattr(keras.Model, name)).parameters if each != "self"]
    place = names.index("verbose")
    kwargs = {**dict(zip(names[place:], args[place:], strict=False)), **kwargs}
    if not is_chief and kwargs.get("verbose", "auto") == "auto":
        kwargs["verbose"] = 0
    return args[:place], kwargs


@contextlib.contextmanager
def _writing_elsewhere(callbacks):
    """Callbacks that write to a folder of their own, which goes at the end."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        made = []
        for index, callback in enumerate(callbacks):
            place = pathlib.Path(folder, str(index))
            place.mkdir()
            for kind, attribute in _PATHS.items():
                if isinstance(callback, kind):
                    path = getattr(callback, attribute)
                    stack.callback(setattr, callback, attribute, path)
                    setattr(callback, attribute, str(place / pathlib.Path(path).name))
            if isinstance(callback, keras.callbacks.BackupAndRestore):
                # It keeps its paths to itself: another one saves when the chief's does, and has nothing to restore.
                callback = keras.callbacks.BackupAndRestore(
                    str(place), save_freq=callback.save_freq, double_checkpoint=callback.double_checkpoint
                )
            made.append(callback)
        yield made
