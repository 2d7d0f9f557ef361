"""`Agreement`: what workers must know of each other while they fit, or they would wait for each other for ever."""

import keras

from tfopt.distribution import collective, keras_repair


class Agreement(keras.callbacks.Callback):
    """Goes on from what the chief restored, and stops when any worker wants to; it must be the last callback.

    Args:
        strategy: `tf.distribute.MultiWorkerMirroredStrategy`.
        workers: `cluster.Workers`.
    """

    def __init__(self, strategy, workers):
        super().__init__()
        self._strategy, self._workers = strategy, workers

    def on_train_begin(self, logs=None):
        """The others take over what `BackupAndRestore` has restored for the chief: they may not even see its files."""
        epoch = keras_repair.restored_epoch(self.model)
        ((has_epoch, epoch), *_) = self._gather(epoch is not None, epoch or 0)
        if has_epoch:
            keras_repair.restore_epoch(self.model, int(epoch))
            collective.broadcast(self._strategy, self._workers, self._state())

    def on_epoch_end(self, epoch, logs=None):
        """One stops, all stop."""
        self.model.stop_training = bool(self._gather(bool(self.model.stop_training)).any())

    def _gather(self, *values):
        return collective.gather(self._strategy, self._workers, values)

    def _state(self):
        import tensorflow as tf

        optimizer = self.model.optimizer.variables if self.model.optimizer is not None else []
        return [
            variable
            for variable in [*self.model.variables, *optimizer]
            if getattr(variable.value, "synchronization", None) != tf.VariableSynchronization.ON_READ  # metrics, reset anyway
        ]
