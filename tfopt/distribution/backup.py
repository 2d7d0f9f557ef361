"""What `BackupAndRestore` leaves out: the states of random generators, as Keras keeps them out of files of weights.

Without them dropout begins anew after a restart, and training ends elsewhere than it would have.
"""

import functools
import inspect
import json
import os

import keras

_NAME = "random_states.json"
_STATE = "seed_generator_state"


def attach(model, is_chief):
    """Makes `fit` of one model keep the states of its random generators beside what `BackupAndRestore` saves.

    Args:
        model: Keras model that knows its strategy.
        is_chief: bool, whether this worker writes; the chief's states count for all.
    """
    fit_before, save_before = model.fit, model.save_weights
    folders = set()  # of the callbacks, while `fit` lasts

    def fit(*args, **kwargs):
        given = inspect.signature(keras.Model.fit).bind(model, *args, **kwargs).arguments.get("callbacks")
        callbacks = given.callbacks if isinstance(given, keras.callbacks.CallbackList) else keras.tree.flatten(given)
        folders.update(str(each.backup_dir) for each in callbacks if isinstance(each, keras.callbacks.BackupAndRestore))
        try:
            return fit_before(*args, **kwargs)
        finally:
            folders.clear()

    def save_weights(filepath, *args, **kwargs):
        save_before(filepath, *args, **kwargs)
        if is_chief and _is_in(filepath, folders):
            _save(model, _beside(filepath))

    def load_weights(filepath, *args, **kwargs):
        type(model).load_weights(model, filepath, *args, **kwargs)
        if _is_in(filepath, folders):
            _load(model, _beside(filepath))

    for function in (fit, save_weights, load_weights):
        vars(model)[function.__name__] = functools.wraps(getattr(type(model), function.__name__))(function)


def _beside(filepath):
    return os.path.join(os.path.dirname(str(filepath)), _NAME)


def _is_in(filepath, folders):
    return os.path.dirname(str(filepath)) in {folder.rstrip("/") for folder in folders}


def _states(model):
    return [variable for variable in model.variables if variable.name == _STATE]


def _save(model, path):
    import tensorflow as tf

    with tf.io.gfile.GFile(path, "w") as file:  # the folder may be in a bucket
        file.write(json.dumps([variable.numpy().tolist() for variable in _states(model)]))


def _load(model, path):
    import tensorflow as tf

    if not tf.io.gfile.exists(path):  # a backup by Keras alone
        return
    with tf.io.gfile.GFile(path) as file:
        states = json.loads(file.read())
    for variable, state in zip(_states(model), states, strict=True):
        variable.assign(state)
