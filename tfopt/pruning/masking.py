"""Zeros that stay zero: a mask is the constraint of a variable, which the optimizer applies inside its compiled step."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from tfopt import errors
from tfopt.keras_model.describe import describe
from tfopt.keras_model.requirements import require_float_weights
from tfopt.keras_model.shipped import shipped_model
from tfopt.keras_model.training.backup import Backups
from tfopt.pruning.fit_callbacks import FitCallbacks
from tfopt.pruning.prunable_weights import Target

Logs = dict[str, Any] | None


class MaskConstraint(keras.constraints.Constraint):
    """Keeps a variable at zero where its mask is False.

    Args:
        mask: bool variable of the shape of the constrained variable.
        inner: the constraint that the variable had before, which is applied first, or None.
        owner: the callback that the mask belongs to.
    """

    def __init__(
        self,
        mask: keras.Variable,
        inner: Callable[[Any], Any] | None = None,
        owner: MaskingCallback | None = None,
    ) -> None:
        self.mask = mask
        self.inner = inner
        self.owner = owner

    @staticmethod
    def without(constraint: Callable[[Any], Any] | None, unwanted: Callable[[MaskConstraint], bool]) -> Callable[[Any], Any] | None:
        """The rest of a constraint without the masks for which `unwanted` returns True."""
        if not isinstance(constraint, MaskConstraint):
            return constraint
        inner = MaskConstraint.without(constraint.inner, unwanted)
        if unwanted(constraint):
            return inner
        return constraint if inner is constraint.inner else MaskConstraint(constraint.mask, inner, constraint.owner)

    def __call__(self, w: Any) -> Any:
        """The value with its zeros. By `where`, because a product would keep NaN, and -0.0 of negative weights."""
        value = w if self.inner is None else self.inner(w)
        return keras.ops.where(self.mask, value, keras.ops.zeros((), dtype=keras.backend.standardize_dtype(value.dtype)))


class MaskingCallback(keras.callbacks.Callback):
    """Holds masks over variables while `fit` runs. Subclasses choose the variables and change the masks.

    It runs first among the callbacks of a run, so that the others see what it adds to `logs`. At the end of training it runs
    once more after all others, as callbacks may restore weights.

    Attributes:
        targets: the weights that have masks, once training has begun.
    """

    targets: list[Target]

    def __init__(self) -> None:
        super().__init__()
        self.targets = []
        self.fit_callbacks = FitCallbacks(None)
        self._backups: Backups | None = None
        self._masks: list[keras.Variable] = []
        self._masked: list[int] = []  # the zeros in the mask of each target

    def set_model(self, model: keras.Model) -> None:
        """Refuses Keras 2 models, whose `fit` needs methods that this callback does not have, and makes backups whole."""
        if not isinstance(model, keras.Model):
            raise errors.ArgumentError(
                f"{type(self).__name__} serves Keras 3 models. Received: {describe(model)} of "
                f"{type(model).__module__.partition('.')[0]}. For Keras 2 (tf_keras) there is tfopt.legacy.prune(model, schedule)."
            )
        super().set_model(model)
        if self._backups is not None:
            self._backups.end()  # of a run that was broken off
        self._backups = Backups(model)
        self._backups.begin(FitCallbacks(self).others(keras.callbacks.BackupAndRestore))

    def on_train_begin(self, logs: Logs = None) -> None:
        """Puts masks that are all True on the variables, if there are any variables yet."""
        self.require_model()
        self.targets, self._masks, self._masked = [], [], []
        self.fit_callbacks = FitCallbacks(self)
        if self.fit_callbacks.nested:
            raise errors.ArgumentError(
                f"{type(self).__name__} and the other callbacks of a run must be in one list. Received: a CallbackList within "
                "another one. Give the callbacks of both in one list."
            )
        if self.fit_callbacks.others(keras.callbacks.SwapEMAWeights):
            raise errors.PruningError(
                "weights that are evaluated and saved must have their zeros. Received: SwapEMAWeights, which puts averages of "
                "weights from before and after pruning into the model. Leave it out: `use_ema=True` of the optimizer works alone."
            )
        self.fit_callbacks.enclose(self.close, self._backups)
        try:
            self.install()
        except errors.TfoptError:
            self.refuse()
            raise

    def require_model(self) -> None:
        """Refuses a list of callbacks that has no model, which `fit` does not give to a list of the caller's own."""
        if self.model is None:
            raise errors.ArgumentError(
                f"{type(self).__name__} needs the model that trains. Received: callbacks without a model. Make the list with it: "
                "keras.callbacks.CallbackList(callbacks, model=model, epochs=epochs, steps=steps)."
            )

    def install(self) -> bool:
        """Puts masks on the variables once; a subclassed model has no variables before its first step.

        Returns:
            Whether the masks are on the variables.
        """
        if self.targets or not shipped_model(self.model).built:
            return bool(self.targets)
        require_float_weights(shipped_model(self.model))
        self.targets = self._find_targets()
        with self.model.distribute_strategy.scope():
            for target in self.targets:
                shape = tuple(target.variable.shape)
                self._masks.append(keras.Variable(np.ones(shape, bool), trainable=False, dtype="bool", name="mask"))
        for target, mask in zip(self.targets, self._masks, strict=True):
            # Masks of a run that was broken off are removed, masks of the other callbacks of this run stay.
            before = MaskConstraint.without(target.variable.constraint, lambda each: not self.runs_with(each.owner))
            target.variable.constraint = MaskConstraint(mask, before, self)
        self._masked = [0] * len(self.targets)
        self.model.make_train_function(force=True)  # a function that was traced before has no masks
        return True

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Checks that the zeros are there."""
        self.verify()

    def on_train_end(self, logs: Logs = None) -> None:
        """Closes the run if the list of callbacks was not found; otherwise `close` is called after all callbacks."""
        if not self.fit_callbacks.known:
            self.close()

    def close(self) -> None:
        """Applies the masks to the variables as they are now, and gives the variables their own constraints back."""
        for target, mask in zip(self.targets, self._masks, strict=True):
            before = target.variable.constraint
            target.variable.constraint = MaskConstraint.without(before, functools.partial(_has_mask, mask))
            if target.variable.constraint is not before:
                self.apply(target, mask)
        self.model.make_train_function(force=True)
        self.fit_callbacks.release()
        if self._backups is not None:
            self._backups.end()

    def refuse(self) -> None:
        """Leaves the model as it was, also for the other masking callbacks of the run, which does not take place."""
        for callback in [self, *filter(self.runs_with, self.fit_callbacks.others(MaskingCallback))]:
            MaskingCallback.close(callback)

    def runs_with(self, other: MaskingCallback | None) -> bool:
        """Whether another callback is at work in the same run."""
        return other is not None and self.fit_callbacks.same_run(other.fit_callbacks)

    def set_masks(self, values: Sequence[npt.NDArray[np.bool_]]) -> None:
        """Gives the masks new values, one for each target, and makes the weights zero where a mask is False."""
        for index, (target, mask, value) in enumerate(zip(self.targets, self._masks, values, strict=True)):
            mask.assign(value)
            self.apply(target, mask)
            self._masked[index] = int(value.size - np.count_nonzero(value))

    def apply(self, target: Target, mask: keras.Variable) -> None:
        """Makes a variable zero where its mask is False."""
        target.variable.assign(MaskConstraint(mask)(target.variable.value))

    def zeros(self) -> list[int]:
        """The number of zeros in each target."""
        return [target.size - int(np.count_nonzero(target.variable.numpy())) for target in self.targets]

    def verify(self) -> None:
        """Raises `PruningError` if a variable is not zero where its mask is False."""
        for target, mask, count in zip(self.targets, self._masks, self._masked, strict=True):
            if count and np.any((target.variable.numpy() != 0) > mask.numpy()):
                self.refuse()
                raise errors.PruningError(
                    f"zeros must stay zero while the model trains. Received: {target.name}, whose pruned weights changed. Only "
                    "updates that go through `optimizer.apply` keep them: a custom `train_step`, or a callback, must not assign "
                    "weights past it, and a step of a loop of your own must not be a tf.function that was traced before "
                    "on_train_begin."
                )

    def _find_targets(self) -> list[Target]:
        """The weights to hold masks over; subclasses implement it."""
        raise NotImplementedError


def _has_mask(mask: keras.Variable, constraint: MaskConstraint) -> bool:
    return constraint.mask is mask
