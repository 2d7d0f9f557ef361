"""Prunes under MirroredStrategy on two logical CPUs, in a process of its own; prints "held"."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from two_devices import strategy  # isort: skip - before Keras

import keras
import numpy as np

import tfopt

rng = np.random.default_rng(0)
x, y = rng.normal(size=(64, 12)).astype("float32"), rng.integers(0, 3, 64)
with strategy.scope():
    keras.utils.set_random_seed(0)
    layers = [keras.Input((12,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False
    )


class Watch(keras.callbacks.Callback):
    """The zeros hold on every replica after every step."""

    def on_train_batch_end(self, batch, logs=None):
        kernel = self.model.layers[0].kernel.value
        copies = [value.numpy() for value in strategy.experimental_local_results(kernel)]
        assert len(copies) == 2
        np.testing.assert_array_equal(copies[0], copies[1])
        zeros.append((copies[0] == 0).mean())


zeros = []
model.fit(x, y, batch_size=16, epochs=6, verbose=0, callbacks=[tfopt.PruningCallback(tfopt.PolynomialDecay(0.75)), Watch()])
assert zeros[-1] == 0.75 and all(np.diff(zeros) >= 0), zeros
print("held")
