"""Moving statistics that each replica follows for itself, as BatchNormalization does: their mean, before anybody reads them."""

import keras


def is_local(variable):
    """Whether each replica changes a Keras variable for itself: metrics, and what TensorFlow was not told how to aggregate."""
    import tensorflow as tf

    value = variable.value
    if not isinstance(value, tf.distribute.DistributedValues) or not value.dtype.is_floating:
        return False
    is_metric = value.synchronization == tf.VariableSynchronization.ON_READ
    return is_metric or value.aggregation == tf.VariableAggregation.NONE


class Statistics:
    """The variables of a model that its replicas change each for itself.

    `v <- (1 / n) sum_i v_i` over n replicas, on all of them; of float variables that do not train and that TensorFlow was not told
    how to aggregate.

    Args:
        model: Keras model made in the scope of `strategy`.
        strategy: `tf.distribute.Strategy`.

    Attributes:
        stale: bool, whether the replicas may differ.
    """

    def __init__(self, model, strategy):
        self._model, self._strategy = model, strategy
        self._average, self._averaged = None, None
        self.stale = False

    def aggregate(self):
        """Makes them equal; with several workers, each must call it."""
        if not self.stale:
            return
        self.stale = False
        variables = [variable.value for variable in self._model.non_trainable_variables if _is_statistic(variable)]
        if not variables:
            return
        if self._averaged != [id(variable) for variable in variables]:
            self._average, self._averaged = self._make(variables), [id(variable) for variable in variables]
        self._average()

    def _make(self, variables):
        import tensorflow as tf

        def on_replica():
            means = tf.distribute.get_replica_context().all_reduce("MEAN", [tf.identity(each) for each in variables])
            for variable, mean in zip(variables, means, strict=True):
                variable.assign(mean)

        return tf.function(lambda: self._strategy.run(on_replica)).get_concrete_function()


def _is_statistic(variable):
    import tensorflow as tf

    return is_local(variable) and variable.value.synchronization != tf.VariableSynchronization.ON_READ


class Aggregation(keras.callbacks.Callback):
    """Aggregates before other callbacks save, so that it must be the first.

    Args:
        statistics: `Statistics` of the model that trains.
    """

    def __init__(self, statistics):
        super().__init__()
        self._statistics = statistics

    def on_train_batch_begin(self, batch, logs=None):
        """From now on they may differ."""
        self._statistics.stale = True

    def on_epoch_end(self, epoch, logs=None):
        """Before the epoch's checkpoints."""
        self._statistics.aggregate()

    def on_train_end(self, logs=None):
        """Before the caller looks at the model."""
        self._statistics.aggregate()
