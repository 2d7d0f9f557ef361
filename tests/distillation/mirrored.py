"""Distills under MirroredStrategy on two logical CPUs; `on_two_devices.py` runs this script."""

from two_devices import strategy  # isort: skip - before Keras

import keras
import numpy as np

import tfopt

rng = np.random.default_rng(0)
x, y = rng.normal(size=(64, 8)).astype("float32"), rng.integers(0, 4, 64)


def build(units):
    """A small classifier."""
    hidden = keras.layers.Dense(units, activation="relu", name="hidden")
    return keras.Sequential([keras.Input((8,)), hidden, keras.layers.Dense(4)])


def distill(cache):
    """The student's weights and the history after training on whole batches."""
    keras.utils.set_random_seed(0)
    losses = [tfopt.LogitsDistillation(), tfopt.FeatureDistillation("hidden", "hidden")]
    distiller = tfopt.Distiller(student=build(6), teacher=build(9), distillation_losses=losses, cache=cache)
    distiller.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    history = distiller.fit(x, y, batch_size=32, epochs=2, shuffle=False, verbose=0).history
    return [variable.numpy() for variable in distiller.student.weights], history


expected, history = distill(None)
for cache in (None, "memory"):
    with strategy.scope():
        found, found_history = distill(cache)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(found_history["loss"], history["loss"], rtol=1e-4)
