"""Moving statistics, as of BatchNormalization: each replica updates its own, and they are averaged before anybody reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    import tensorflow as tf


def is_local(variable: keras.Variable) -> bool:
    """Whether each replica updates a Keras variable by itself: metrics, and variables without an aggregation in TensorFlow."""
    import tensorflow as tf

    value = variable.value
    if not isinstance(value, tf.distribute.DistributedValues) or not value.dtype.is_floating:
        return False
    is_metric: bool = value.synchronization == tf.VariableSynchronization.ON_READ
    return is_metric or value.aggregation == tf.VariableAggregation.NONE


class Statistics:
    """The variables of a model that each replica updates by itself.

    `v <- (1 / n) sum_i v_i` over n replicas, on all replicas. The variables are float, do not train, and have no aggregation in
    TensorFlow.

    Args:
        model: Keras model made in the scope of `strategy`.
        strategy: the strategy under which the model trains.

    Attributes:
        stale: whether the replicas may differ.
    """

    stale: bool

    def __init__(self, model: keras.Model, strategy: tf.distribute.Strategy) -> None:
        self._model, self._strategy = model, strategy
        self._average: Callable[[], object] | None = None
        self._averaged: list[int] = []  # ids of the variables of `_average`
        self.stale = False

    def aggregate(self) -> None:
        """Makes the statistics equal on all replicas; with several workers, each worker must call it."""
        if not self.stale:
            return
        self.stale = False
        variables = [variable.value for variable in self._model.non_trainable_variables if _is_statistic(variable)]
        if not variables:
            return
        ids = [id(variable) for variable in variables]
        if self._average is None or self._averaged != ids:
            self._average, self._averaged = self._make(variables), ids
        self._average()

    def _make(self, variables: list[tf.Variable]) -> Callable[[], object]:
        import tensorflow as tf

        def on_replica() -> None:
            means = tf.distribute.get_replica_context().all_reduce("MEAN", [tf.identity(each) for each in variables])
            for variable, mean in zip(variables, means, strict=True):
                variable.assign(mean)

        average: Callable[[], object] = tf.function(lambda: self._strategy.run(on_replica)).get_concrete_function()
        return average


def _is_statistic(variable: keras.Variable) -> bool:
    import tensorflow as tf

    return is_local(variable) and variable.value.synchronization != tf.VariableSynchronization.ON_READ


class Aggregation(keras.callbacks.Callback):
    """Averages the statistics before other callbacks save, so it must be the first callback.

    Args:
        statistics: the `Statistics` of the model that trains.
    """

    def __init__(self, statistics: Statistics) -> None:
        super().__init__()
        self._statistics = statistics

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Notes that replicas differ from now on."""
        self._statistics.stale = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Averages before the checkpoints of the epoch are written."""
        self._statistics.aggregate()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Averages before the caller reads the model."""
        self._statistics.aggregate()
