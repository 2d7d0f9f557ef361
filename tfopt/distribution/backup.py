"""The states of random generators, which Keras leaves out of weight files and so out of `BackupAndRestore`.

Without these states, dropout restarts from the beginning after a restart, and training ends with other weights.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from tfopt.files import PathLike

_NAME = "random_states.json"
_STATE = "seed_generator_state"


def attach(model: keras.Model, is_chief: bool) -> None:
    """Makes `fit` of one model keep the states of its random generators beside the files of `BackupAndRestore`.

    Args:
        model: Keras model that was made in the scope of a strategy.
        is_chief: whether this worker writes the file; all workers continue from the chief's states.
    """
    fit_before, save_before = model.fit, model.save_weights
    folders: set[str] = set()  # of the `BackupAndRestore` callbacks while `fit` lasts

    def fit(*args: Any, **kwargs: Any) -> keras.callbacks.History:
        given = inspect.signature(keras.Model.fit).bind(model, *args, **kwargs).arguments.get("callbacks")
        callbacks = given.callbacks if isinstance(given, keras.callbacks.CallbackList) else keras.tree.flatten(given)
        folders.update(str(each.backup_dir) for each in callbacks if isinstance(each, keras.callbacks.BackupAndRestore))
        try:
            return fit_before(*args, **kwargs)
        finally:
            folders.clear()

    def save_weights(filepath: PathLike, *args: Any, **kwargs: Any) -> None:
        save_before(filepath, *args, **kwargs)
        if is_chief and _is_in(filepath, folders):
            _save(model, _beside(filepath))

    def load_weights(filepath: PathLike, *args: Any, **kwargs: Any) -> None:
        type(model).load_weights(model, filepath, *args, **kwargs)
        if _is_in(filepath, folders):
            _load(model, _beside(filepath))

    functions: dict[str, Callable[..., Any]] = {"fit": fit, "save_weights": save_weights, "load_weights": load_weights}
    for name, function in functions.items():
        vars(model)[name] = functools.wraps(getattr(type(model), name))(function)


def _beside(filepath: PathLike) -> str:
    return os.path.join(os.path.dirname(str(filepath)), _NAME)


def _is_in(filepath: PathLike, folders: Collection[str]) -> bool:
    return os.path.dirname(str(filepath)) in {folder.rstrip("/") for folder in folders}


def _states(model: keras.Model) -> list[keras.Variable]:
    return [variable for variable in model.variables if variable.name == _STATE]


def _save(model: keras.Model, path: str) -> None:
    import tensorflow as tf

    with tf.io.gfile.GFile(path, "w") as file:  # the folder may be in a bucket
        file.write(json.dumps([variable.numpy().tolist() for variable in _states(model)]))


def _load(model: keras.Model, path: str) -> None:
    import tensorflow as tf

    if not tf.io.gfile.exists(path):  # the backup was written without tfopt
        return
    with tf.io.gfile.GFile(path) as file:
        states = json.loads(file.read())
    for variable, state in zip(_states(model), states, strict=True):
        variable.assign(state)
