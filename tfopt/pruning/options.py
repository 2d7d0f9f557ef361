"""What the callback and the one-shot function check alike."""

import collections.abc
import numbers

from tfopt import errors
from tfopt.pruning import masks

_UPDATES = 50  # of the masks, between begin and end, by default


def as_plan(sparsity):
    """The sparsity as a dict of layer name -> fraction, or None where it is one number."""
    return dict(sparsity) if isinstance(sparsity, collections.abc.Mapping) else None


def check_options(pattern, scope):
    """Raises unless the pattern and the scope are known ones."""
    if not isinstance(pattern, masks.Unstructured | masks.Block | masks.NByM):
        raise errors.ArgumentError(
            "pattern must be tfopt.Unstructured(), tfopt.Block((rows, columns)) or tfopt.NByM(n, m). "
            f"Received: pattern={pattern!r}."
        )
    if scope not in ("layer", "global"):
        raise errors.ArgumentError(f"scope must be 'layer' or 'global'. Received: scope={scope!r}.")


def check_schedule(schedule, pattern, scope, frequency):
    """Raises unless these arguments of a pruning that takes time go together."""
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


def span(step, epoch, epochs, steps, batches=1):
    """Where a run is that has come to the beginning of an epoch.

    Args:
        step: int, the optimizer's step.
        epoch, epochs: int, this epoch and those of the run.
        steps: None or int, batches of an epoch.
        batches: int, batches of an optimizer step.

    Returns:
        (int, the optimizer step at which the run began; None or int, its steps). A run that was interrupted began with epoch 0;
        with an optimizer that has made no step yet, it begins here.
    """
    if steps is None or epochs is None:
        return step, None
    if step == 0:
        return 0, (epochs - epoch) * steps // batches
    # Below zero where steps were left out, as a loss scale does that grew too large.
    return max(0, step - epoch * steps // batches), epochs * steps // batches


def place(schedule, frequency, start, total):
    """A schedule in the steps of a run.

    Args:
        schedule: `ConstantSparsity` or `PolynomialDecay`.
        frequency: None or int, optimizer steps between two updates.
        start: int, the optimizer step at which the run began, whether or not it was interrupted since.
        total: None or int, steps of the run.

    Returns:
        (the schedule with steps for fractions, int, steps between two updates).

    Raises:
        PruningError: the schedule ends after the run.
    """
    run = schedule.resolve(start, total)
    if total is not None and run.end > start + total:
        raise errors.PruningError(
            f"the schedule must end within the run. Received: end at optimizer step {run.end:,}, and a run of {total:,} "
            f"steps that ends at step {start + total:,}. Train longer, or give `end` as a fraction (0.75). To spread a schedule "
            "over several calls of fit, give each its part, the next with `initial_sparsity` where the last ended."
        )
    return run, frequency or max(1, (run.end - run.begin) // _UPDATES)


def check_final(sparsity, pattern, scope):
    """Raises unless the pattern and the scope can end with this sparsity."""
    plan = as_plan(sparsity)
    if plan and scope == "global":
        raise errors.ArgumentError("a plan gives each layer its sparsity, so scope must be 'layer'. Received: scope='global'.")
    if isinstance(pattern, masks.NByM):
        for value in plan.values() if plan else [sparsity]:
            if abs(value - pattern.sparsity) > 1e-9:
                raise errors.ArgumentError(
                    f"{pattern} ends with a sparsity of {pattern.sparsity:g} and no other. Received: {value!r}."
                )
