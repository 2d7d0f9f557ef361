"""When masks are updated: a schedule in the optimizer steps of one run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfopt import errors
from tfopt.pruning.schedules import Schedule

_UPDATES = 50  # of the masks, between the begin and the end of a schedule, by default


@dataclasses.dataclass(frozen=True)
class Timetable:
    """A schedule of a run and the steps at which masks are updated: `begin`, then every `frequency` steps, and `end`."""

    schedule: Schedule  # its positions are optimizer steps
    frequency: int  # optimizer steps between two updates, above 0

    @property
    def begin(self) -> int:
        """The optimizer step of the first update."""
        return int(self.schedule.begin)

    @property
    def end(self) -> int:
        """The optimizer step of the last update."""
        return int(self.schedule.end)

    @property
    def updates(self) -> list[int]:
        """The optimizer steps of all updates, ascending."""
        return [*range(self.begin, self.end, self.frequency), self.end]

    def due(self, step: int) -> int | None:
        """The step of the latest update up to an optimizer step; None before the first one."""
        if step < self.begin:
            return None
        return self.end if step >= self.end else step - (step - self.begin) % self.frequency

    def following(self, step: int) -> int | None:
        """The step of the first update after an optimizer step; None after the last one."""
        if step < self.begin:
            return self.begin
        return None if step >= self.end else min(self.end, step - (step - self.begin) % self.frequency + self.frequency)


@dataclasses.dataclass(frozen=True)
class Begun:
    """Where a run was when its schedule was placed."""

    epoch: int  # from 0
    step: int  # of the optimizer
    accumulated: int  # batches in an optimizer step


def require_length(params: Mapping[str, Any], begun: Begun, epoch: int, step: int) -> None:
    """Raises an error at the begin of an epoch if the run is longer than its parameters say, by which the schedule was placed.

    Keras knows the length in `fit`; a `CallbackList` of the caller's own may say another one.

    Args:
        params: of the callbacks: "epochs", "steps" in an epoch; a run without one of them is of any length.
        begun: where the run was when its schedule was placed.
        epoch: the epoch that begins, from 0.
        step: the step of the optimizer now.

    Raises:
        PruningError: the epoch is not one of the run, or the epochs before it had more batches.
    """
    epochs, batches = params.get("epochs"), params.get("steps")
    if epochs is None or batches is None:
        return
    most = begun.step + (epoch - begun.epoch) * batches // begun.accumulated + 1  # a part of a step from before
    if epoch >= max(epochs, begun.epoch + 1) or step > max(most, begun.step):
        raise errors.PruningError(
            "the run must be as long as its CallbackList says, by which the schedule is placed. Received: "
            f"CallbackList(..., epochs={epochs}, steps={batches}), and epoch {epoch + 1} that begins at optimizer step {step:,}. "
            "Give the list the number of epochs and the number of batches in an epoch."
        )


def run_of(step: int, epoch: int, epochs: int | None, batches: int | None, accumulated: int = 1) -> tuple[int, int | None]:
    """The run that has come to the beginning of an epoch, in optimizer steps.

    A run that was interrupted and goes on counts as one that began with epoch 0. If the optimizer has made no step yet, the run
    begins at `epoch`.

    Args:
        step: the step of the optimizer now.
        epoch: the epoch that begins, from 0.
        epochs: the epoch before which the run ends; None if unknown.
        batches: batches in an epoch; None if unknown.
        accumulated: batches in an optimizer step.

    Returns:
        The optimizer step at which the run began, and the number of its steps; None if unknown.
    """
    if batches is None or epochs is None:
        return step, None
    if step == 0:
        return 0, (epochs - epoch) * batches // accumulated
    # Below zero if steps were left out, as a loss scale does that grew too large.
    return max(0, step - epoch * batches // accumulated), epochs * batches // accumulated


def place(schedule: Schedule, frequency: int | None, start: int, total: int | None) -> Timetable:
    """Places a schedule in a run.

    Args:
        schedule: its positions may be fractions of the run.
        frequency: optimizer steps between two updates; None: 50 updates between the begin and the end of the schedule.
        start: the optimizer step at which the run began, see `run_of`.
        total: optimizer steps of the run; None if unknown.

    Raises:
        ArgumentError: a position is a fraction and the length of the run is unknown.
        PruningError: the schedule ends after the run.
    """
    placed = schedule.resolve(start, total)
    if total is not None and placed.end > start + total:
        raise errors.PruningError(
            f"the schedule must end within the run. Received: end at optimizer step {placed.end:,}, and a run of {total:,} "
            f"steps that ends at step {start + total:,}. Train longer, or give `end` as a fraction (0.75). To spread a schedule "
            "over several calls of fit, give each call a schedule of its own, with the sparsity that was reached as the "
            "`initial_sparsity` of the next one."
        )
    return Timetable(placed, frequency or max(1, int(placed.end - placed.begin) // _UPDATES))
