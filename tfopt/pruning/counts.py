"""How many units of the pruned weights are zero at a step of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfopt.pruning import masks

if TYPE_CHECKING:
    from tfopt.pruning.options import Scope
    from tfopt.pruning.prunable_weights import Target
    from tfopt.pruning.schedules import Schedule


class ZeroCounts:
    """Counts of the units that are zero: of each target with the scope "layer", of all targets together with "global".

    Units that are zero when the counts are made stay zero, so that no count is ever below them; those of a weight that was never
    trained may change.

    Args:
        targets: the pruned weights, as they are at the beginning of the run.
        pattern: divides the targets into units.
        scope: whether the schedule is that of each target, or that of all targets together.

    Attributes:
        none: the counts before anything is pruned, 0.
        initial: the counts at the beginning of the run.
    """

    none: list[int] | int
    initial: list[int] | int

    def __init__(self, targets: Sequence[Target], pattern: masks.Pattern, scope: Scope) -> None:
        self._targets, self._unit, self._scope = targets, pattern.unit, scope
        self._units = [target.size // pattern.unit for target in targets]
        zeros = [int(np.count_nonzero(pattern.scores(target.matrix()) == 0)) for target in targets]
        # A tensor that is zero as a whole, or as its initializer made it, has not been trained yet: it may change.
        self._zeros = [
            0 if count in (0, units) or target.is_untrained else count
            for target, count, units in zip(targets, zeros, self._units, strict=True)
        ]
        self.none = 0 if scope == "global" else [0] * len(targets)
        self.initial = sum(self._zeros) if scope == "global" else self._zeros

    def at(self, schedule: Schedule, step: int) -> list[int] | int:
        """The counts that are due at an optimizer step, by a schedule whose positions are steps."""
        if self._scope == "global":
            return max(masks.count_zeros(sum(self._units), schedule(step)), sum(self._zeros))
        shares = [schedule.of(target.layer_name)(step) for target in self._targets]
        return [
            max(masks.count_zeros(units, share), zeros)
            for units, share, zeros in zip(self._units, shares, self._zeros, strict=True)
        ]

    def exceeding(self, schedule: Schedule) -> list[str]:
        """The weights that had more zeros at the beginning than a schedule asks for at its end: `dense/kernel 93.8% of 50.0%`."""
        end = int(schedule.end)
        if self._scope == "global":
            rows = [("all pruned weights together", sum(self._zeros), sum(self._units), schedule(end))]
        else:
            shares = [schedule.of(target.layer_name)(end) for target in self._targets]
            names = [target.name for target in self._targets]
            rows = list(zip(names, self._zeros, self._units, shares, strict=True))
        return [
            f"{name} {zeros / units:.1%} of {share:.1%}"
            for name, zeros, units, share in rows
            if zeros > masks.count_zeros(units, share) + 1
        ]

    def missed(self, schedule: Schedule, zeros: Sequence[int]) -> list[str]:
        """The weights that miss the sparsity that is due at the end of a schedule by more than one unit.

        Args:
            schedule: its positions are optimizer steps.
            zeros: the single weights of each target that are zero.

        Returns:
            Texts such as `dense/kernel 70.00% of 75.00%`.
        """
        due = self.at(schedule, int(schedule.end))
        if isinstance(due, int):
            rows = [("all pruned weights together", sum(zeros), due, sum(self._units))]
        else:
            rows = list(zip([target.name for target in self._targets], zeros, due, self._units, strict=True))
        return [
            f"{name} {count / (units * self._unit):.2%} of {wanted / units:.2%}"
            for name, count, wanted, units in rows
            if count < (wanted - 1) * self._unit
        ]
