"""Learning rates for larger batches: `scale_learning_rate()` computes the rate, and `WarmUp` leads up to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

import keras

from tfopt.errors import ArgumentError

if TYPE_CHECKING:
    import tensorflow as tf

RULES = ("linear", "sqrt")
Rule = Literal["linear", "sqrt"]


def scale_learning_rate(rate: float, global_batch: int, base_batch: int, rule: Rule = "linear") -> float:
    """Computes the learning rate for a batch of another size.

    `rate (global_batch / base_batch)`, or with "sqrt" `rate sqrt(global_batch / base_batch)`.

    "linear" keeps the sum of the steps over an epoch. It suits SGD with a warm-up, for batches of up to a few thousand samples.
    "sqrt" keeps the variance of a step. It is the usual choice for Adam and similar optimizers.

    Example:

    ```python
    batch = 64 * strategy.num_replicas_in_sync
    rate = tfopt.scale_learning_rate(0.1, batch, 256)
    ```

    Args:
        rate: above 0, the learning rate that works for `base_batch`.
        global_batch: 1 or more, the samples that all replicas together take in a step: `batch_size` of `fit`.
        base_batch: 1 or more, the samples of a step for which `rate` was chosen.
        rule: "linear" (default) or "sqrt".

    Returns:
        The scaled learning rate, above 0.

    Raises:
        ArgumentError: an argument has another type or is out of its range.

    Sources: Goyal et al., arXiv:1706.02677 (linear); Krizhevsky, arXiv:1404.5997 (sqrt).
    """
    if not _is_number(rate) or rate <= 0:
        raise ArgumentError(
            f"`rate` must be a number above 0. Received: rate={rate!r}. To scale a schedule, scale the rates from which it is made."
        )
    for name, value in (("global_batch", global_batch), ("base_batch", base_batch)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ArgumentError(
                f"`{name}` must be an integer of at least 1. Received: {name}={value!r}. Give the number of samples."
            )
    if rule not in RULES:
        raise ArgumentError(f"`rule` must be one of {', '.join(RULES)}. Received: rule={rule!r}. Choose one of them.")
    ratio = global_batch / base_batch
    return rate * (ratio if rule == "linear" else math.sqrt(ratio))


@keras.saving.register_keras_serializable("tfopt")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Raises the learning rate in a straight line, then follows another schedule.

    `rate(s) = start + (after(0) - start) s / steps` for `s < steps`, then `after(s - steps)`.

    Example:

    ```python
    decay = keras.optimizers.schedules.PiecewiseConstantDecay([30 * steps_per_epoch, 60 * steps_per_epoch], [0.4, 0.04, 0.004])
    optimizer = keras.optimizers.SGD(tfopt.WarmUp(decay, steps=5 * steps_per_epoch, start=0.1), momentum=0.9)
    ```

    Args:
        after: the rate after the warm-up, above 0, or a Keras `LearningRateSchedule`, which counts its steps from the end of
            the warm-up.
        steps: 0 or more, optimizer steps of the warm-up.
        start: 0 or more (default 0), the rate of the first step. Goyal et al. start with the rate of the small batch.

    Attributes:
        after, steps, start: the arguments.

    Raises:
        ArgumentError: an argument has another type or is out of its range.

    Source: Goyal et al., arXiv:1706.02677, section 2.2.
    """

    after: float | keras.optimizers.schedules.LearningRateSchedule
    steps: int
    start: float

    def __init__(self, after: float | keras.optimizers.schedules.LearningRateSchedule, steps: int, start: float = 0.0) -> None:
        is_schedule = isinstance(after, keras.optimizers.schedules.LearningRateSchedule)
        if not is_schedule and (not _is_number(after) or after <= 0):
            raise ArgumentError(
                f"`after` must be a number above 0 or a Keras LearningRateSchedule. Received: after={after!r}. "
                "Give the rate that the warm-up leads to, or the schedule that follows it."
            )
        if not isinstance(steps, int) or isinstance(steps, bool) or steps < 0:
            raise ArgumentError(
                f"`steps` must be an integer of at least 0. Received: steps={steps!r}. "
                "Multiply the number of epochs by the steps of an epoch."
            )
        if not _is_number(start) or start < 0:
            raise ArgumentError(f"`start` must be a number of at least 0. Received: start={start!r}. Leave it out to begin at 0.")
        self.after, self.steps, self.start = after, steps, start

    def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
        """Computes the rate of an optimizer step (counted from 0) as a float32 scalar tensor."""
        ops = keras.ops
        step, steps = ops.cast(step, "float32"), float(self.steps)
        later = self._after(ops.maximum(step - steps, 0.0))
        risen = self.start + (self._after(ops.zeros(())) - self.start) * step / max(steps, 1.0)
        return ops.where(step < steps, risen, later)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments from which `from_config` makes this schedule again."""
        after = self.after if _is_number(self.after) else keras.saving.serialize_keras_object(self.after)
        return {"after": after, "steps": self.steps, "start": self.start}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WarmUp:
        """Makes a schedule from the result of `get_config()`."""
        after = config["after"]
        return cls(**{**config, "after": after if _is_number(after) else keras.saving.deserialize_keras_object(after)})

    def _after(self, step: tf.Tensor) -> tf.Tensor:
        rate = self.after if isinstance(self.after, int | float) else self.after(step)
        return keras.ops.cast(rate, "float32")


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
