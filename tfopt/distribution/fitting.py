"""Methods for a model under a strategy: statistics are averaged before they are read, and the chief alone writes files."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras

from tfopt.distribution import keras_repair, optimizer_steps, uneven_batches
from tfopt.distribution.agreement import Agreement
from tfopt.distribution.statistics import Aggregation, Statistics
from tfopt.errors import ArgumentError
from tfopt.keras_model.training.backup import Backups

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.distribution.cluster import Workers
    from tfopt.files import PathLike

Function = Callable[..., Any]

# The attribute with the path of a callback, which points elsewhere while `fit` lasts on a worker that is not the chief.
_PATHS = {
    keras.callbacks.ModelCheckpoint: "filepath",
    keras.callbacks.CSVLogger: "filename",
    keras.callbacks.TensorBoard: "log_dir",
}


def attach(model: keras.Model, strategy: tf.distribute.Strategy, workers: Workers | None) -> None:
    """Replaces `compile`, `fit`, `evaluate`, `predict` and the methods that write files, on one model alone.

    Args:
        model: Keras model that has just been made.
        strategy: the strategy in whose scope it was made.
        workers: the processes that train together, or None if there is only this one.
    """
    statistics = Statistics(model, strategy)
    is_chief = workers is None or workers.index == 0

    def own(name: str) -> Function:
        return functools.partial(getattr(type(model), name), model)

    def compile(*args: Any, **kwargs: Any) -> None:
        with strategy.scope():
            own("compile")(*args, **kwargs)
        given = inspect.signature(keras.Model.compile).bind(model, *args, **kwargs).arguments
        _check_made_in_scope({name: given.get(name) for name in ("optimizer", "metrics", "weighted_metrics")})
        if model.optimizer is not None:
            optimizer_steps.attach(model.optimizer)

    def fit(*args: Any, **kwargs: Any) -> keras.callbacks.History:
        args, kwargs = _arguments("fit", args, kwargs, is_chief)
        given = kwargs.get("callbacks")
        users_list = given if isinstance(given, keras.callbacks.CallbackList) else None
        before = users_list.callbacks if users_list is not None else keras.tree.flatten(given) if given else []
        if any(isinstance(callback, keras.callbacks.CallbackList) for callback in before):
            raise ArgumentError(
                "the callbacks of `fit` under a strategy must be in one list, since the chief alone writes files. Received: a "
                "CallbackList within another list. Give the callbacks of both in one list."
            )
        agreement = [] if workers is None else [Agreement(strategy, workers)]
        backups = Backups(model, is_writer=is_chief)
        with contextlib.nullcontext(before) if is_chief else _writing_elsewhere(before) as callbacks:
            callbacks = [backups, Aggregation(statistics), *callbacks, *agreement]
            backups.begin(callbacks)
            try:
                with _in_list(users_list, model, callbacks) as whole:
                    return own("fit")(*args, **{**kwargs, "callbacks": whole})
            finally:
                backups.end()

    def train_on_batch(*args: Any, **kwargs: Any) -> Any:
        statistics.stale = True
        return own("train_on_batch")(*args, **kwargs)

    def reader(name: str) -> Function:
        def read(*args: Any, **kwargs: Any) -> Any:
            statistics.aggregate()
            args, kwargs = _arguments(name, args, kwargs, is_chief)
            return own(name)(*args, **kwargs)

        return read

    elsewhere: list[str] = []  # the folder of a save that goes on

    def write(function: Function, filepath: Any) -> Any:
        statistics.aggregate()
        if is_chief or elsewhere or not isinstance(filepath, str | os.PathLike):
            return function(filepath)
        # Some variables can be read by all workers together only: each worker saves, and the files of the others are deleted.
        with tempfile.TemporaryDirectory() as folder:
            elsewhere.append(folder)
            try:
                return function(str(pathlib.Path(folder, pathlib.Path(filepath).name)))
            finally:
                elsewhere.clear()

    def writer(name: str) -> Function:
        def write_by_method(filepath: PathLike, *args: Any, **kwargs: Any) -> Any:
            return write(lambda path: own(name)(path, *args, **kwargs), filepath)

        return write_by_method

    made: dict[str, Function] = {"compile": compile, "fit": fit, "train_on_batch": train_on_batch}
    made |= {name: reader(name) for name in ("evaluate", "predict")}
    made |= {name: writer(name) for name in ("save", "save_weights", "export")}
    made |= uneven_batches.guard(model, own)
    keras_repair.write_through(model, write)
    vars(model).update({name: functools.wraps(getattr(type(model), name))(function) for name, function in made.items()})


def _check_made_in_scope(given: Mapping[str, Any]) -> None:
    """Refuses an optimizer or a metric whose variables do not exist on every replica."""
    import tensorflow as tf

    for name, value in given.items():
        for each in keras.tree.flatten(value):
            variables = each.variables if isinstance(each, keras.optimizers.Optimizer | keras.metrics.Metric) else []
            if any(not isinstance(variable.value, tf.distribute.DistributedValues) for variable in variables):
                raise ArgumentError(
                    "the optimizer and the metrics of compile() must be made in the scope of the model's strategy. Received: "
                    f"{name} with {type(each).__name__} {each.name!r}, which was made outside of it. Make it in "
                    "`with strategy.scope():`, or give its name as a string."
                )


def _arguments(
    name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], is_chief: bool
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """(args, kwargs) of a Keras method, with `verbose` and all later arguments by name; the chief alone shows progress."""
    names = [each for each in inspect.signature(getattr(keras.Model, name)).parameters if each != "self"]
    place = names.index("verbose")
    kwargs = {**dict(zip(names[place:], args[place:], strict=False)), **kwargs}
    if not is_chief and kwargs.get("verbose", "auto") == "auto":
        kwargs["verbose"] = 0
    return args[:place], kwargs


@contextlib.contextmanager
def _in_list(
    users_list: keras.callbacks.CallbackList | None, model: keras.Model, callbacks: list[keras.callbacks.Callback]
) -> Iterator[keras.callbacks.CallbackList | list[keras.callbacks.Callback]]:
    """The callbacks, in the caller's own list if there is one; those that are not its own get its parameters, and the model."""
    if users_list is None:
        yield callbacks
        return
    before = users_list.callbacks
    for callback in callbacks:
        if callback not in before:
            callback.set_params(users_list.params)
            callback.set_model(model)
    users_list.callbacks = callbacks
    try:
        yield users_list
    finally:
        users_list.callbacks = before


@contextlib.contextmanager
def _writing_elsewhere(callbacks: Sequence[keras.callbacks.Callback]) -> Iterator[list[keras.callbacks.Callback]]:
    """The callbacks with paths in a temporary folder, which is deleted at the end."""
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
                # Its paths are private. A second callback saves whenever the chief's saves, and has no backup to restore.
                callback = keras.callbacks.BackupAndRestore(
                    str(place), save_freq=callback.save_freq, double_checkpoint=callback.double_checkpoint
                )
            made.append(callback)
        yield made
