"""Trains on sizes of data that do not divide by the batch or by the replicas, with one replica or with several."""

import keras
import numpy as np
import tensorflow as tf
from in_scope import save_found

SIZES = (17, 18, 19, 23, 31, 33, 47, 49, 63, 65, 97, 107, 111)
# A loss that is a sum counts each sample alike by itself; Keras shows such a loss by replica.
REDUCTIONS = {"sum_over_batch_size": SIZES, "sum": (23, 31)}
SOURCES = ("arrays", "dataset", "generator")
BATCH = 16


def run(strategy, worker, folder):
    """Writes the findings of one worker into `folder`."""
    save_found(strategy, worker, folder, train)


def train(make, reductions=REDUCTIONS):
    """dict of arrays: "REDUCTION SIZE SOURCE loss", the losses of two epochs, and "... weights", all weights in one row.

    Args:
        make: function of a function that builds a model, which it calls in its scope.
        reductions: how a loss is reduced -> sizes of data.
    """
    found = {}
    for reduction, sizes in reductions.items():
        model = make(lambda reduction=reduction: build(reduction))
        start = [variable.numpy() for variable in model.weights]
        for size in sizes:
            rng = np.random.default_rng(size)
            x = rng.normal(size=(size, 5)).astype("float32")
            y = x[:, :1] ** 2 + np.arange(size, dtype="float32")[:, None] / size  # the last samples differ from the others
            for source in SOURCES:
                # One model for all, as another one would be traced again.
                model.set_weights(start)
                for variable in model.optimizer.variables[2:]:  # after the number of steps and the learning rate
                    variable.assign(np.zeros(variable.shape, "float32"))
                key = f"{reduction} {size} {source}"
                losses = fit(model, source, x, y)
                if reduction != "sum":
                    found[f"{key} loss"] = np.array(losses)
                found[f"{key} weights"] = np.concatenate([weight.ravel() for weight in model.get_weights()])
    return found


def fit(model, source, x, y):
    """The loss of each of two epochs."""
    starts = range(0, len(x), BATCH)
    if source == "arrays":
        return model.fit(x, y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0).history["loss"]
    if source == "dataset":
        return model.fit(tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH), epochs=2, verbose=0).history["loss"]
    batches = ((x[begin : begin + BATCH], y[begin : begin + BATCH]) for _ in range(2) for begin in starts)
    return model.fit(batches, steps_per_epoch=len(starts), epochs=2, verbose=0).history["loss"]


def build(reduction):
    """A net whose loss has a part without samples, too, compiled and with a built optimizer."""
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(8, activation="tanh", kernel_regularizer="l2")
    model = keras.Sequential([keras.Input((5,)), hidden, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), keras.losses.MeanSquaredError(reduction), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model
