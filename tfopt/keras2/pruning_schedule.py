"""A schedule of tfopt as tfmot asks for it: a table of optimizer steps and the sparsity at each of them."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, Self

from tfopt.keras2.door import tfmot
from tfopt.pruning import schedules, timetable

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.pruning.schedules import Schedule


@dataclasses.dataclass(frozen=True)
class Run:
    """The schedule of one layer in the steps of a run."""

    schedule: Schedule  # its positions are optimizer steps
    steps: tuple[int, ...]  # optimizer steps at which masks are made, ascending
    sparsities: tuple[float, ...]  # at these steps, in [0, 1)


def place(schedule: Schedule, frequency: int | None, start: int, total: int | None, now: int, lowest: float) -> Run:
    """Places the schedule of one layer in a run.

    Args:
        schedule: its positions may be fractions of the run.
        frequency: optimizer steps between two updates; None: 50 updates between the begin and the end of the schedule.
        start: the optimizer step at which the run began; before `now` if the run is resumed.
        total: optimizer steps of the run; None if unknown.
        now: the optimizer step.
        lowest: the sparsity that the layer has already, in [0, 1].

    Raises:
        PruningError: the schedule ends after the run.
    """
    table = timetable.place(schedule, frequency, start, total)
    # Of the updates before this step, the last one is due at once.
    sparsities = {max(step, now): max(table.schedule(step), lowest) for step in table.updates}
    if lowest and now < table.begin:
        sparsities = {now: lowest, **sparsities}  # zeros stay before the schedule begins too
    return Run(table.schedule, tuple(sparsities), tuple(sparsities.values()))


@functools.cache
def tfmot_schedule() -> type[Any]:
    """The class that shows a schedule of tfopt to tfmot; made once, when Keras 2 is needed."""
    import tensorflow as tf
    import tf_keras

    @tf_keras.saving.register_keras_serializable(package="tfopt")
    class Schedule(tfmot().sparsity.keras.PruningSchedule):  # type: ignore[misc]  # of a module that a function returns
        """The steps at which masks are made and the sparsity at each; empty until a run has begun.

        The steps are those of the optimizer. tfmot's own count, `step`, rises at every call of a layer: twice a step if the layer
        is shared.
        """

        def __init__(self, schedule: schedules.Schedule, frequency: int | None = None) -> None:
            self.schedule = schedule
            self.frequency = frequency
            self.iterations: tf.Variable | None = None  # the steps of the optimizer
            self.run: Run | None = None

        def __call__(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            if self.run is None:
                return tf.constant(False), tf.constant(0.0)
            now = tf.cast(self.iterations, tf.int64)
            steps = tf.constant(self.run.steps, tf.int64)
            index = tf.minimum(tf.searchsorted(steps, now[tf.newaxis])[0], len(self.run.steps) - 1)
            return tf.equal(steps[index], now), tf.constant(self.run.sparsities, tf.float32)[index]

        def get_config(self) -> dict[str, Any]:
            fields = {"kind": type(self.schedule).__name__, **dataclasses.asdict(self.schedule)}
            return {"class_name": "tfopt>Schedule", "config": {"schedule": fields, "frequency": self.frequency}}

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Self:
            fields = dict(config["schedule"])
            return cls(getattr(schedules, fields.pop("kind"))(**fields), config["frequency"])

    return Schedule
