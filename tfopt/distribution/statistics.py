"""Moving statistics that each replica follows for itself, as BatchNormalization does: their mean, before anybody reads them."""

import keras


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
        variables = [variable.value for variable in self._model.non_trainable_variables if self._is_local(variable)]
        if not variables:
            return
        if self._averaged != [id(variable) for variable in variables]:
            self._average, self._averaged = self._make(variables), [id(variable) for variable in variables]
        self._average()

    def _is_local(self, variable):
        import tensorflow as tf

        value = variable.value
        is_spread = isinstance(value, tf.distribute.DistributedValues)
        return is_spread and value.dtype.is_floating and value.aggregation == tf.VariableAggregation.NONE

    def _make(self, variables):
        import tensorflow as tf

        def on_replica():
            means = tf.distribute.get_replica_context().all_reduce("MEAN", [tf.identity(each) for each in variables])
            for variable, mean in zip(variables, means, strict=True):
                variable.assign(mean)

        return tf.function(lambda: self._strategy.run(on_replica))


class Aggregation(keras.callbacks.Callback):
    """Aggregates before other callbacks save or evaluate, so that it must be the first.

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

    def on_test_begin(self, logs=None):
        """Before an evaluation."""
        self._statistics.aggregate()

    def on_train_end(self, logs=None):
        """Before the caller looks at the model."""
        self._statistics.aggregate()
