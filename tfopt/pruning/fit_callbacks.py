"""The other callbacks of a `fit`: find them, replace them for this run, and hold some of them back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import keras

if TYPE_CHECKING:
    from typing import Self


class FitCallbacks:
    """The callbacks of one run, as one of them sees them; no callbacks in a loop of the caller's own without a `CallbackList`.

    Args:
        own: the callback that looks at the others, while Keras calls it; None outside a run.
    """

    def __init__(self, own: keras.callbacks.Callback | None) -> None:
        self._own = own
        self._list = None if own is None else _callback_list_of(own)
        self._added: list[keras.callbacks.Callback] = []

    @property
    def known(self) -> bool:
        """Whether the list of callbacks was found."""
        return self._list is not None

    @property
    def nested(self) -> bool:
        """Whether the list is itself a callback in another list, whose callbacks it does not see."""
        return self._list is not None and _callback_list_of(self._list) is not None

    def enclose(self, at_end: Callable[[], None], second: keras.callbacks.Callback | None = None) -> None:
        """Moves the own callback to the front of the list and calls `at_end` at the end of training after all callbacks.

        Args:
            at_end: function without arguments.
            second: a callback that follows the own one until `release`; None (default) for none.
        """
        if self._list is not None:
            follows, last = [second] if second is not None else [], _AtEnd(at_end)
            others = [callback for callback in self._list.callbacks if callback is not self._own]
            self._list.callbacks = [self._own, *follows, *others, last]
            self._added = [*follows, last]

    def release(self) -> None:
        """Undoes `enclose`, except for the order, and forgets the list."""
        if self._list is not None:
            self._list.callbacks = [callback for callback in self._list.callbacks if callback not in self._added]
        self._list = None

    def others(self, kind: type[Any]) -> list[Any]:
        """The other callbacks of a class."""
        callbacks = [] if self._list is None else self._list.callbacks
        return [callback for callback in callbacks if callback is not self._own and isinstance(callback, kind)]

    def replace(self, kind: type[Any], make: Callable[[Any], keras.callbacks.Callback]) -> None:
        """Puts the callback that `make` returns in the place of each callback of a class."""
        if self._list is not None:
            self._list.callbacks = [make(each) if isinstance(each, kind) else each for each in self._list.callbacks]

    def same_run(self, other: Self) -> bool:
        """Whether `other` was made by another callback of the same run."""
        return other is not self and self._list is not None and other._list is self._list


class Prunes(Protocol):
    """A callback that prunes."""

    @property
    def finished(self) -> bool:
        """Whether the final sparsity is reached."""


class HeldBack:
    """The callbacks of a run that look for the best model: they are held back until pruning is finished.

    An `EarlyStopping` sees no end of an epoch before. A `ModelCheckpoint` that keeps the best model saves earlier models, but
    they do not compete with the later ones.

    Args:
        callbacks: the callbacks of the run.
        pruning: the callback that prunes. If several callbacks prune, the others wait for all of them.
    """

    def __init__(self, callbacks: FitCallbacks, pruning: Prunes) -> None:
        self._callbacks, self._pruning = callbacks, pruning
        checkpoints = callbacks.others(keras.callbacks.ModelCheckpoint)
        self._checkpoints = [(checkpoint, checkpoint.best) for checkpoint in checkpoints if checkpoint.save_best_only]
        for waiting in callbacks.others(_Waiting):
            waiting.prunings.append(pruning)
        callbacks.replace(keras.callbacks.EarlyStopping, lambda callback: _Waiting(callback, pruning))

    def start(self) -> None:
        """Lets checkpoints forget the models that were not pruned to the end."""
        for checkpoint, best in self._checkpoints:
            checkpoint.best = best

    def release(self) -> None:
        """Gives the run its own callbacks back, unless they wait for another callback that prunes."""
        for waiting in self._callbacks.others(_Waiting):
            waiting.prunings = [each for each in waiting.prunings if each is not self._pruning]
        self._callbacks.replace(_Waiting, lambda waiting: waiting if waiting.prunings else waiting.callback)


class _Waiting(keras.callbacks.Callback):
    """Stands for another callback of the run, which sees no end of an epoch before pruning is finished."""

    def __init__(self, callback: keras.callbacks.Callback, pruning: Prunes) -> None:
        super().__init__()
        for name in dir(callback):
            if name.startswith("on_") and name != "on_epoch_end":
                setattr(self, name, getattr(callback, name))
        self.callback = callback
        self.prunings = [pruning]

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if all(pruning.finished for pruning in self.prunings):
            self.callback.on_epoch_end(epoch, logs)


class _AtEnd(keras.callbacks.Callback):
    """Calls a function at the end of training."""

    def __init__(self, function: Callable[[], None]) -> None:
        super().__init__()
        self._function = function

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        self._function()


def _callback_list_of(callback: keras.callbacks.Callback) -> keras.callbacks.CallbackList | None:
    """The `CallbackList` that is calling a callback, or None. Keras does not hand it to callbacks, so the stack is searched."""
    frame = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, keras.callbacks.CallbackList) and callback in owner.callbacks:
            return owner
        frame = frame.f_back
    return None
