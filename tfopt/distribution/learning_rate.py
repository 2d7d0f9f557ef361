"""How the learning rate grows with the batch, and how it gets there: `scale_learning_rate()` and `WarmUp`."""

import math

import keras

from tfopt.errors import ArgumentError

RULES = ("linear", "sqrt")


def scale_learning_rate(rate, global_batch, base_batch, rule="linear"):
    """The learning rate for a batch of another size.

    `rate (global_batch / base_batch)`, or with "sqrt" `rate sqrt(global_batch / base_batch)`.

    "linear" keeps the sum of the steps over an epoch: for SGD, up to some thousand samples, with a warm-up.
    "sqrt" keeps the variance of a step: the usual choice for Adam and its like.

    Example:

    ```python
    batch = 64 * strategy.num_replicas_in_sync
    rate = tfopt.scale_learning_rate(0.1, batch, 256)
    ```

    Args:
        rate: float > 0, the learning rate that is good for `base_batch`.
        global_batch: int >= 1, samples of a step of all replicas together: `batch_size` of `fit`.
        base_batch: int >= 1.
        rule: "linear" or "sqrt".

    Returns:
        float.

    Raises:
        ArgumentError: something else was given.

    Sources: Goyal et al., arXiv:1706.02677 (linear); Krizhevsky, arXiv:1404.5997 (sqrt).
    """
    if not _is_number(rate) or rate <= 0:
        raise ArgumentError(f"`rate` must be a number above 0. Received: rate={rate!r}. Scale it before making a schedule of it.")
    for name, value in (("global_batch", global_batch), ("base_batch", base_batch)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ArgumentError(f"`{name}` must be an integer of at least 1. Received: {name}={value!r}.")
    if rule not in RULES:
        raise ArgumentError(f"`rule` must be one of {', '.join(RULES)}. Received: rule={rule!r}.")
    ratio = global_batch / base_batch
    return rate * (ratio if rule == "linear" else math.sqrt(ratio))


@keras.saving.register_keras_serializable("tfopt")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Raises the learning rate in a straight line, then hands over to another schedule.

    `rate(s) = start + (after(0) - start) s / steps` for `s < steps`, then `after(s - steps)`.

    Example:

    ```python
    decay = keras.optimizers.schedules.PiecewiseConstantDecay([30 * steps_per_epoch, 60 * steps_per_epoch], [0.4, 0.04, 0.004])
    optimizer = keras.optimizers.SGD(tfopt.WarmUp(decay, steps=5 * steps_per_epoch, start=0.1), momentum=0.9)
    ```

    Args:
        after: float > 0, or a Keras `LearningRateSchedule`, which counts its steps from the end of the warm-up.
        steps: int >= 0, optimizer steps of the warm-up.
        start: float >= 0, the rate of the first step; Goyal et al. begin with that of the small batch.

    Raises:
        ArgumentError: something else was given.

    Source: Goyal et al., arXiv:1706.02677, section 2.2.
    """

    def __init__(self, after, steps, start=0.0):
        is_schedule = isinstance(after, keras.optimizers.schedules.LearningRateSchedule)
        if not is_schedule and (not _is_number(after) or after <= 0):
            raise ArgumentError(f"`after` must be a number above 0 or a Keras LearningRateSchedule. Received: after={after!r}.")
        if not isinstance(steps, int) or isinstance(steps, bool) or steps < 0:
            raise ArgumentError(
                f"`steps` must be an integer of at least 0. Received: steps={steps!r}. Epochs are to be multiplied."
            )
        if not _is_number(start) or start < 0:
            raise ArgumentError(f"`start` must be a number of at least 0. Received: start={start!r}.")
        self.after, self.steps, self.start = after, steps, start

    def __call__(self, step):
        """The rate of an optimizer step, a float32 scalar tensor."""
        ops = keras.ops
        step, steps = ops.cast(step, "float32"), float(self.steps)
        later = self._after(ops.maximum(step - steps, 0.0))
        risen = self.start + (self._after(ops.zeros(())) - self.start) * step / max(steps, 1.0)
        return ops.where(step < steps, risen, later)

    def get_config(self):
        """Everything that makes this schedule again."""
        after = self.after if _is_number(self.after) else keras.saving.serialize_keras_object(self.after)
        return {"after": after, "steps": self.steps, "start": self.start}

    @classmethod
    def from_config(cls, config):
        """A schedule from `get_config()`."""
        after = config["after"]
        return cls(**{**config, "after": after if _is_number(after) else keras.saving.deserialize_keras_object(after)})

    def _after(self, step):
        rate = self.after if _is_number(self.after) else self.after(step)
        return keras.ops.cast(rate, "float32")


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
