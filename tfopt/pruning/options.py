"""Check the arguments that pruning with and without training have in common."""

from __future__ import annotations

import collections.abc
import numbers
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, get_args

from tfopt import errors
from tfopt.pruning import masks

if TYPE_CHECKING:
    from tfopt.pruning.schedules import Schedule

Scope = Literal["layer", "global"]
"""Whether each tensor reaches the sparsity, or all tensors together by one threshold."""


def as_plan(sparsity: float | Mapping[str, float] | None) -> dict[str, float] | None:
    """The sparsity as a plan, a dict of layer name -> fraction, or None if it is one number for all layers."""
    return dict(sparsity) if isinstance(sparsity, collections.abc.Mapping) else None


def check_options(pattern: masks.Pattern, scope: Scope) -> None:
    """Raises unless the pattern and the scope are known ones."""
    if not isinstance(pattern, masks.Unstructured | masks.Block | masks.NByM):
        raise errors.ArgumentError(
            "pattern must be tfopt.Unstructured(), tfopt.Block((rows, columns)) or tfopt.NByM(n, m). "
            f"Received: pattern={pattern!r}."
        )
    if scope not in get_args(Scope):
        raise errors.ArgumentError(f"scope must be 'layer' or 'global'. Received: scope={scope!r}.")


def check_schedule(schedule: Schedule, pattern: masks.Pattern, scope: Scope, frequency: int | None) -> None:
    """Raises unless the arguments of pruning during training fit together."""
    check_options(pattern, scope)
    if isinstance(schedule, type) or not callable(getattr(schedule, "resolve", None)):
        raise errors.ArgumentError(
            f"schedule must be tfopt.ConstantSparsity or tfopt.PolynomialDecay. Received: schedule={schedule!r}. "
            "For a constant share of zeros: tfopt.ConstantSparsity(0.8)."
        )
    check_final(schedule.final, pattern, scope)
    if frequency is not None and (isinstance(frequency, bool) or not isinstance(frequency, numbers.Integral) or frequency < 1):
        raise errors.ArgumentError(
            f"frequency must be None or an int above 0, in optimizer steps. Received: frequency={frequency!r}."
        )


def check_final(sparsity: float | Mapping[str, float], pattern: masks.Pattern, scope: Scope) -> None:
    """Raises unless the pattern and the scope can end with this sparsity."""
    if isinstance(sparsity, collections.abc.Mapping) and scope == "global":
        raise errors.ArgumentError(
            "scope must be 'layer' with a plan, which gives each layer a sparsity of its own. Received: scope='global'."
        )
    if isinstance(pattern, masks.NByM):
        for value in sparsity.values() if isinstance(sparsity, collections.abc.Mapping) else [sparsity]:
            if abs(value - pattern.sparsity) > 1e-9:
                raise errors.ArgumentError(
                    f"{pattern} can only end with a sparsity of {pattern.sparsity:g}. Received: sparsity={value!r}."
                )
