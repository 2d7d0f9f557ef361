"""When to prune: the sparsity that is due at an optimizer step. Schedules are pure functions of the step."""

from __future__ import annotations

import collections.abc
import dataclasses
import math
import numbers
from collections.abc import Mapping
from typing import TypeAlias

from tfopt import errors


@dataclasses.dataclass(frozen=True)
class ConstantSparsity:
    """The same sparsity from `begin` on.

    `s(t) = 0` for `t < begin`, `sparsity` from there on.

    Example:

    ```python
    schedule = tfopt.ConstantSparsity(0.5, begin=100)
    schedule(99), schedule(100)  # 0.0, 0.5
    ```

    Args:
        sparsity: fraction of zeros, in [0, 1), or a plan: a dict of layer name -> fraction, as
            `prune_sensitivity(...).plan()` makes it.
        begin: where pruning begins: a fraction of the run in [0, 1] as a float, an optimizer step as an int.

    Raises:
        ArgumentError: a value is out of its range.
    """

    sparsity: float | Mapping[str, float]
    _: dataclasses.KW_ONLY
    begin: float | int = 0.0

    def __post_init__(self) -> None:
        check_sparsity("sparsity", self.sparsity)
        _check_position("begin", self.begin)

    @property
    def final(self) -> float | Mapping[str, float]:
        """The sparsity, or the plan, that the schedule ends with."""
        return self.sparsity

    @property
    def end(self) -> float | int:
        """Where the sparsity stops changing: `begin`."""
        return self.begin

    def resolve(self, start: int, steps: int | None) -> ConstantSparsity:
        """The schedule with `begin` as an optimizer step.

        Args:
            start: the optimizer step at which the run begins.
            steps: optimizer steps of the run; None if unknown.

        Raises:
            ArgumentError: `begin` is a fraction above 0 and `steps` is None.
        """
        return dataclasses.replace(self, begin=_to_step("begin", self.begin, start, steps))

    def of(self, name: str) -> ConstantSparsity:
        """The schedule of one layer; with a plan, it has the layer's own sparsity."""
        return dataclasses.replace(self, sparsity=_sparsity_of(self.sparsity, name))

    def __call__(self, step: int) -> float:
        """The sparsity at an optimizer step, in [0, 1); `begin` must be a step, see `resolve`, and the sparsity one number."""
        return _one_number(self.sparsity) if step >= self.begin else 0.0


@dataclasses.dataclass(frozen=True)
class PolynomialDecay:
    """The sparsity rises from `initial_sparsity` to `final_sparsity`, fast at first and then ever more slowly.

    `s(t) = final + (initial - final) (1 - p)^power`, `p = (t - begin) / (end - begin)` kept in [0, 1]; 0 for `t < begin`.

    Example:

    ```python
    schedule = tfopt.PolynomialDecay(final_sparsity=0.8, begin=0, end=100)
    schedule(0), schedule(50), schedule(100)  # 0.0, 0.7, 0.8
    ```

    Args:
        final_sparsity: fraction of zeros at the end, in [0, 1), or a plan: a dict of layer name -> fraction, as
            `prune_sensitivity(...).plan()` makes it.
        initial_sparsity: fraction of zeros at `begin`, in [0, final_sparsity].
        begin, end: where pruning begins and where the final sparsity is reached: fractions of the run in [0, 1] as floats,
            optimizer steps as ints. In the rest of the run, after `end`, the weights recover.
        power: exponent, above 0; with 1 the sparsity rises evenly.

    Raises:
        ArgumentError: a value is out of its range, or `end` is not after `begin`.

    References:
        Zhu and Gupta, To prune, or not to prune, arXiv:1710.01878.
    """

    final_sparsity: float | Mapping[str, float]
    _: dataclasses.KW_ONLY
    initial_sparsity: float = 0.0
    begin: float | int = 0.0
    end: float | int = 0.75
    power: float = 3

    def __post_init__(self) -> None:
        check_sparsity("final_sparsity", self.final_sparsity)
        check_sparsity("initial_sparsity", self.initial_sparsity, plan=False)
        final = self.final_sparsity
        if self.initial_sparsity > (min(final.values()) if isinstance(final, collections.abc.Mapping) else final):
            raise errors.ArgumentError(
                f"initial_sparsity must not exceed final_sparsity. Received: initial_sparsity={self.initial_sparsity!r}, "
                f"final_sparsity={self.final_sparsity!r}."
            )
        _check_position("begin", self.begin)
        _check_position("end", self.end)
        if not isinstance(self.power, numbers.Real) or not self.power > 0:
            raise errors.ArgumentError(f"power must be a number above 0. Received: power={self.power!r}.")
        if type(self.begin) is type(self.end) and self.begin >= self.end:
            raise errors.ArgumentError(f"end must be after begin. Received: begin={self.begin!r}, end={self.end!r}.")

    @property
    def final(self) -> float | Mapping[str, float]:
        """The sparsity, or the plan, that the schedule ends with."""
        return self.final_sparsity

    def resolve(self, start: int, steps: int | None) -> PolynomialDecay:
        """The schedule with `begin` and `end` as optimizer steps.

        Args:
            start: the optimizer step at which the run begins.
            steps: optimizer steps of the run; None if unknown.

        Raises:
            ArgumentError: a position is a fraction above 0 and `steps` is None.
        """
        begin, end = (_to_step(name, getattr(self, name), start, steps) for name in ("begin", "end"))
        return dataclasses.replace(self, begin=begin, end=max(end, begin + 1) if isinstance(self.end, float) else end)

    def of(self, name: str) -> PolynomialDecay:
        """The schedule of one layer; with a plan, it has the layer's own final sparsity."""
        return dataclasses.replace(self, final_sparsity=_sparsity_of(self.final_sparsity, name))

    def __call__(self, step: int) -> float:
        """The sparsity at an optimizer step, in [0, 1); positions must be steps, see `resolve`, and the sparsity one number."""
        if step < self.begin:
            return 0.0
        progress = min((step - self.begin) / (self.end - self.begin), 1.0)
        final = _one_number(self.final_sparsity)
        return final + (self.initial_sparsity - final) * (1 - progress) ** self.power


Schedule: TypeAlias = ConstantSparsity | PolynomialDecay


def check_sparsity(name: str, value: float | Mapping[str, float], plan: bool = True) -> None:
    """Raises unless `value` is a fraction in [0, 1), or a plan of such fractions if `plan` allows one."""
    if plan and isinstance(value, collections.abc.Mapping) and value:
        for layer, sparsity in value.items():
            check_sparsity(f"{name}[{layer!r}]", sparsity, plan=False)
        return
    number = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    if not 0 <= number < 1:
        hint = f" {number:g} % is {number / 100:g}." if 1 < number <= 100 else ""
        raise errors.ArgumentError(f"{name} must be a fraction in [0, 1).{hint} Received: {name}={value!r}.")


def _check_position(name: str, value: float | int) -> None:
    """Raises unless `value` is a fraction of the run or an optimizer step."""
    fraction = isinstance(value, float) and 0 <= value <= 1
    step = isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= 0
    if not fraction and not step:
        raise errors.ArgumentError(
            f"{name} must be a fraction of the run as a float in [0, 1], or an optimizer step as an int. "
            f"Received: {name}={value!r}."
        )


def _to_step(name: str, value: float | int, start: int, steps: int | None) -> int:
    if not isinstance(value, float):
        return int(value)
    if value == 0:
        return start
    if steps is None:
        raise errors.ArgumentError(
            f"{name} is a fraction of the run, and the length of the run is unknown. Received: {name}={value!r}. Give "
            "steps_per_epoch to fit(), or epochs and steps to a list of your own, keras.callbacks.CallbackList(..., epochs=, "
            f"steps=), or {name} as an optimizer step (an int)."
        )
    return start + round(value * steps)


def _sparsity_of(sparsity: float | Mapping[str, float], name: str) -> float:
    return sparsity[name] if isinstance(sparsity, collections.abc.Mapping) else sparsity


def _one_number(sparsity: float | Mapping[str, float]) -> float:
    if isinstance(sparsity, collections.abc.Mapping):
        raise errors.ArgumentError(
            f"a schedule with a plan has a sparsity for each layer. Received: {dict(sparsity)!r}. Call schedule.of(name)(step)."
        )
    return sparsity
