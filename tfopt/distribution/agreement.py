"""`Agreement`: the state that workers share while they fit; without it, one worker would wait for another forever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from tfopt.distribution import collective, keras_repair

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import tensorflow as tf

    from tfopt.distribution.cluster import Workers


class Agreement(keras.callbacks.Callback):
    """Gives the state that the chief restored to all workers, and stops all of them when one stops; it must be the last callback.

    Args:
        strategy: the multi-worker strategy under which the model trains.
        workers: the processes that train together.
    """

    def __init__(self, strategy: tf.distribute.MultiWorkerMirroredStrategy, workers: Workers) -> None:
        super().__init__()
        self._strategy, self._workers = strategy, workers

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Copies the state that `BackupAndRestore` restored on the chief: the other workers may not even see its files."""
        epoch = keras_repair.restored_epoch(self.model)
        ((has_epoch, chief_epoch), *_) = self._gather(epoch is not None, epoch or 0)
        if has_epoch:
            keras_repair.restore_epoch(self.model, int(chief_epoch))
            collective.broadcast(self._strategy, self._workers, self._state())

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Stops every worker if one of them stops."""
        self.model.stop_training = bool(self._gather(bool(self.model.stop_training)).any())

    def _gather(self, *values: int) -> npt.NDArray[np.int32]:
        return collective.gather(self._strategy, self._workers, values)

    def _state(self) -> list[keras.Variable]:
        import tensorflow as tf

        optimizer = self.model.optimizer.variables if self.model.optimizer is not None else []
        return [
            variable
            for variable in [*self.model.variables, *optimizer]
            # Metrics are synchronized on read, and reset in any case.
            if getattr(variable.value, "synchronization", None) != tf.VariableSynchronization.ON_READ
        ]
