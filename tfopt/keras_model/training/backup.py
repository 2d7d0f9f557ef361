"""All that an interrupted run needs, in the one file of `BackupAndRestore` that is renamed into place.

Keras leaves the states of random generators out of weight files, so dropout would restart from the beginning. It writes the weights
and the epoch to two files, so a process that is killed between them would train one epoch twice.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import keras

from tfopt import errors

if TYPE_CHECKING:
    from tfopt.files import PathLike

_DATASET = "tfopt_run"  # in the file of weights
_METADATA = "training_metadata.json"  # Keras reads the epoch from this file after it has read the weights
_STATE = "seed_generator_state"
_HOOKED = ("save_weights", "load_weights")


class Backups(keras.callbacks.Callback):
    """Makes the files of the `BackupAndRestore` callbacks of one run whole, from `begin` to `end`.

    It must be called at the begin and end of epochs before `BackupAndRestore` is. A file holds the weights, the epoch at which a
    restored run continues, and the states of the random generators. It replaces the file before it when it is complete.

    Args:
        model: Keras 3 model that trains.
        is_writer: whether this process writes the files; workers that are not the chief save for themselves and delete it.
    """

    def __init__(self, model: keras.Model, *, is_writer: bool = True) -> None:
        super().__init__()
        self.set_model(model)
        self._is_writer = is_writer
        self._folders: set[str] = set()
        self._epoch: int | None = None
        self._before: dict[str, Any] = {}

    def begin(self, callbacks: Iterable[keras.callbacks.Callback]) -> None:
        """Replaces `save_weights` and `load_weights` of the model for the files of the callbacks; other files stay as they are."""
        self._folders = {_folder(each.backup_dir) for each in callbacks if isinstance(each, keras.callbacks.BackupAndRestore)}
        if not self._folders:
            return
        own: dict[str, Any] = self.model.__dict__
        for name, function in zip(_HOOKED, (self._save_weights, self._load_weights), strict=True):
            self._before[name] = own.get(name)
            own[name] = functools.wraps(getattr(type(self.model), name))(functools.partial(function, getattr(self.model, name)))

    def end(self) -> None:
        """Gives the model its own methods back."""
        own: dict[str, Any] = self.model.__dict__
        for name, function in self._before.items():
            own.pop(name, None)
            if function is not None:
                own[name] = function
        self._before = {}

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """A run that is restored from a backup in this epoch repeats the epoch."""
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """A run that is restored from a backup at the end of this epoch continues with the next one."""
        self._epoch = epoch + 1

    def _save_weights(self, save: Callable[..., None], filepath: PathLike, *args: Any, **kwargs: Any) -> None:
        path = str(filepath)
        if _folder(os.path.dirname(path)) not in self._folders:
            save(filepath, *args, **kwargs)
            return
        folder, name = os.path.split(path)
        with tempfile.TemporaryDirectory() if "://" in path else contextlib.nullcontext(folder) as place:
            unfinished = os.path.join(place, f"unfinished.{name}")  # a name that the next backup takes again after a kill
            save(unfinished, *args, **kwargs)
            if self._is_writer:
                _add(self.model, unfinished, self._epoch)
                _move(unfinished, path)

    def _load_weights(self, load: Callable[..., None], filepath: PathLike, *args: Any, **kwargs: Any) -> None:
        load(filepath, *args, **kwargs)
        if _folder(os.path.dirname(str(filepath))) in self._folders:
            _restore(self.model, str(filepath))


def tell_of_new_generators(model: keras.Model, epoch: int) -> None:
    """Warns of a run that continues from a file without random states, such as one of `ModelCheckpoint`.

    Args:
        model: Keras 3 model at the beginning of an epoch after the first one.
        epoch: this epoch, from 0.
    """
    states = _random_states(model)
    if states and not any(int(state.numpy()[1]) for state in states):
        warnings.warn(
            f"the run continues at epoch {epoch + 1}, and the random generators of the model are at their beginning, so dropout "
            "repeats its first numbers: a run that was not interrupted ends with other weights. Files of ModelCheckpoint do not "
            "hold the states of random generators. Files of BackupAndRestore do, if the callback is in the same fit.",
            stacklevel=2,
        )


def _random_states(model: keras.Model) -> list[keras.Variable]:
    """The states of the random generators of a model: uint32 pairs of a seed and the count of the draws."""
    return [variable for variable in model.variables if variable.name == _STATE]


def _folder(path: PathLike) -> str:
    text = str(path)
    return text.rstrip("/") if "://" in text else os.path.abspath(text)


def _move(local: str, path: str) -> None:
    import tensorflow as tf

    if "://" in path:
        tf.io.gfile.copy(local, path, overwrite=True)  # a bucket shows an object when it is complete
    else:
        os.replace(local, path)


def _add(model: keras.Model, local: str, epoch: int | None) -> None:
    import h5py

    states = [variable.numpy().tolist() for variable in _random_states(model)]
    with h5py.File(local, "a") as file:
        file[_DATASET] = json.dumps({"epoch": epoch, "random_states": states})


def _restore(model: keras.Model, path: str) -> None:
    """Restores the random states, and the epoch where the metadata are not those of the weights."""
    import h5py
    import tensorflow as tf

    with tf.io.gfile.GFile(path, "rb") as content, h5py.File(content, "r") as file:
        found = json.loads(file[_DATASET][()]) if _DATASET in file else None
    variables = _random_states(model)
    held = 0 if found is None else len(found["random_states"])
    if held != len(variables):
        raise errors.LoadError(
            "a backup must hold the states of the random generators of the model, without which dropout would restart from the "
            f"beginning. Received: {path} with {held} states for {len(variables)} random generators: the backup was written by a "
            "run without tfopt, or by another model. Continue it as it was written, or remove its folder to train from the "
            "beginning."
        )
    if found is None:
        return
    for variable, state in zip(variables, found["random_states"], strict=True):
        variable.assign(state)
    if found["epoch"] is not None and _epoch_beside(path) != found["epoch"]:
        with tempfile.TemporaryDirectory() as folder:
            local = os.path.join(folder, _METADATA)
            with open(local, "w") as file:
                file.write(json.dumps({"epoch": found["epoch"], "batch": 0}))
            tf.io.gfile.copy(local, _beside(path), overwrite=True)


def _beside(path: str) -> str:
    return f"{os.path.dirname(path)}/{_METADATA}"


def _epoch_beside(path: str) -> int | None:
    """The epoch in the file that Keras writes after the weights; None if it was not, or not all, written."""
    import tensorflow as tf

    try:
        with tf.io.gfile.GFile(_beside(path)) as file:
            epoch: int = json.loads(file.read())["epoch"]
    except (tf.errors.NotFoundError, ValueError, KeyError, TypeError):
        return None
    return epoch
