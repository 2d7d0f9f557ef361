"""Zeros that stay zero: a mask as the constraint of a variable, which the optimizer applies inside its compiled step."""

import inspect
import warnings

import keras
import numpy as np

from tfopt import errors
from tfopt.keras_model.describe import describe
from tfopt.keras_model.walk import shipped_model


class MaskConstraint(keras.constraints.Constraint):
    """Keeps a variable at zero where its mask is False, after the constraint that it had before.

    Args:
        mask: bool `keras.Variable` of the constrained variable's shape.
        inner: None or the constraint that comes first.
        owner: the callback whose mask it is.
    """

    def __init__(self, mask, inner=None, owner=None):
        self.mask = mask
        self.inner = inner
        self.owner = owner

    @staticmethod
    def without(constraint, unwanted):
        """What is left of a constraint when the masks go for which `unwanted(MaskConstraint)` is true."""
        if not isinstance(constraint, MaskConstraint):
            return constraint
        inner = MaskConstraint.without(constraint.inner, unwanted)
        if unwanted(constraint):
            return inner
        return constraint if inner is constraint.inner else MaskConstraint(constraint.mask, inner, constraint.owner)

    def __call__(self, w):
        """The value with its zeros. `where`, as a product would keep NaN, and -0.0 of negative weights."""
        value = w if self.inner is None else self.inner(w)
        return keras.ops.where(self.mask, value, keras.ops.zeros((), dtype=keras.backend.standardize_dtype(value.dtype)))


class MaskingCallback(keras.callbacks.Callback):
    """Holds masks over variables while `fit` runs. Subclasses say which variables, and change the masks.

    It comes first among the callbacks of a run, so that what it adds to `logs` reaches the others, and has the last word at
    the end, after callbacks that restore weights.
    """

    def __init__(self):
        super().__init__()
        self.targets = []
        self._masks = []
        self._masked = []  # of each target, how many zeros its mask has
        self._callback_list = None

    def set_model(self, model):
        """Refuses models of Keras 2, whose `fit` asks callbacks for more before it calls any of them."""
        if not isinstance(model, keras.Model):
            raise errors.ArgumentError(
                f"{type(self).__name__} serves Keras 3 models. Received: {describe(model)} of "
                f"{type(model).__module__.partition('.')[0]}. For Keras 2 (tf_keras) there is tfopt.legacy.prune(model, schedule)."
            )
        super().set_model(model)

    def on_train_begin(self, logs=None):
        """Puts the masks, all True yet, on the variables, if there are any yet."""
        self.targets, self._masks, self._masked = [], [], []
        self._callback_list = _callback_list_of(self)
        self._refuse_swapped_averages()
        if self._callback_list is not None:
            others = [callback for callback in self._callback_list.callbacks if callback is not self]
            self._callback_list.callbacks = [self, *others, _Close(self)]
        try:
            self.install()
        except errors.TfoptError:
            self.refuse()
            raise

    def install(self):
        """Puts masks on the variables unless that is done; a subclassed model has none before its first step.

        Returns:
            bool, whether the masks are there.
        """
        if self.targets or not shipped_model(self.model).built:
            return bool(self.targets)
        self.targets = self._find_targets()
        with self.model.distribute_strategy.scope():
            for target in self.targets:
                shape = tuple(target.variable.shape)
                self._masks.append(keras.Variable(np.ones(shape, bool), trainable=False, dtype="bool", name="mask"))
        for target, mask in zip(self.targets, self._masks, strict=True):
            # Masks of a run that was broken off go, those of the other callbacks of this run stay.
            before = MaskConstraint.without(target.variable.constraint, lambda each: not self.runs_with(each.owner))
            target.variable.constraint = MaskConstraint(mask, before, self)
        self._masked = [0] * len(self.targets)
        self.model.make_train_function(force=True)  # one traced before knows no constraint
        return True

    def on_epoch_end(self, epoch, logs=None):
        """Looks whether the zeros are there."""
        self.verify()

    def on_train_end(self, logs=None):
        """Where no list of callbacks was found, this callback is the last one as well."""
        if self._callback_list is None:
            self.close()

    def close(self):
        """Applies the masks to what stands in the variables now, and gives the variables their own constraints back."""
        for target, mask in zip(self.targets, self._masks, strict=True):
            before = target.variable.constraint
            target.variable.constraint = MaskConstraint.without(before, lambda each, mask=mask: each.mask is mask)
            if target.variable.constraint is not before:
                self.apply(target, mask)
        self.model.make_train_function(force=True)
        if self._callback_list is not None:
            self._callback_list.callbacks = [
                callback
                for callback in self._callback_list.callbacks
                if not (isinstance(callback, _Close) and callback.owner is self)
            ]
            self._callback_list = None

    def refuse(self):
        """Leaves the model as it was, for this callback and for the others of the run, which will not take place."""
        for callback in [self, *filter(self.runs_with, self.others(MaskingCallback))]:
            MaskingCallback.close(callback)

    def runs_with(self, other):
        """Whether another callback is at work in the same run."""
        return other is not self and self._callback_list is not None and other._callback_list is self._callback_list

    def set_masks(self, values):
        """Gives the masks new values and zeroes what they hide.

        Args:
            values: list of bool arrays, one for each target.
        """
        for index, (target, mask, value) in enumerate(zip(self.targets, self._masks, values, strict=True)):
            mask.assign(value)
            self.apply(target, mask)
            self._masked[index] = int(value.size - np.count_nonzero(value))

    def apply(self, target, mask):
        """Zeroes a variable where its mask is False."""
        target.variable.assign(MaskConstraint(mask)(target.variable.value))

    def zeros(self):
        """How many zeros each target has, list of ints."""
        return [target.size - int(np.count_nonzero(target.variable.numpy())) for target in self.targets]

    def verify(self):
        """Raises if a variable is not zero where its mask says so."""
        for target, mask, count in zip(self.targets, self._masks, self._masked, strict=True):
            if count and np.any((target.variable.numpy() != 0) > mask.numpy()):
                self.refuse()
                raise errors.PruningError(
                    f"zeros must stay zero while the model trains. Received: {target.name}, whose pruned weights changed. Only "
                    "updates that go through `optimizer.apply` keep them: a custom `train_step`, or a callback, must not assign "
                    "weights past it."
                )

    def others(self, kind):
        """The other callbacks of this run of a class."""
        callbacks = self._callback_list.callbacks if self._callback_list is not None else []
        return [callback for callback in callbacks if callback is not self and isinstance(callback, kind)]

    def replace_others(self, kind, make):
        """Puts what `make` returns in the place of the other callbacks of a class, for this run."""
        if self._callback_list is not None:
            self._callback_list.callbacks = [
                make(callback) if isinstance(callback, kind) else callback for callback in self._callback_list.callbacks
            ]

    def _refuse_swapped_averages(self):
        if self.others(keras.callbacks.SwapEMAWeights):
            raise errors.PruningError(
                "weights that are evaluated and saved must have their zeros. Received: SwapEMAWeights, which puts averages of "
                "weights from before and after pruning into the model. Leave it out: `use_ema=True` of the optimizer works alone."
            )

    def _find_targets(self):
        raise NotImplementedError


class _Close(keras.callbacks.Callback):
    """The last callback of a run."""

    def __init__(self, owner):
        super().__init__()
        self.owner = owner

    def on_train_end(self, logs=None):
        self.owner.close()


def _callback_list_of(callback):
    """The `CallbackList` that is calling `callback`, or None: Keras does not hand it to callbacks."""
    frame = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, keras.callbacks.CallbackList) and callback in owner.callbacks:
            return owner
        frame = frame.f_back
    return None


def warn(message):
    """Says something that the user should know, at the line that called `fit`."""
    warnings.warn(message, UserWarning, stacklevel=2)
