"""Saves a model by the functions of Keras, while the replicas differ; writes a file "saved"."""

import keras
import numpy as np
from keras.models import save_model  # imported before the strategy takes the model over

import tfopt


def run(strategy, worker, folder):
    """Raises if a file does not hold the averages of the statistics."""
    with strategy.scope():
        model = build()
    x = np.random.default_rng(0).normal(size=(64, 5)).astype("float32") + np.arange(64)[:, None] % 16
    y = x[:, :1]
    saves = Saves(folder)
    model.fit(x, y, batch_size=16, verbose=0, callbacks=[saves])
    assert set(saves.means) == {"model.keras", "model.h5", "model.weights.h5"}
    for name, mean in saves.means.items():
        if name == "model.weights.h5":
            found = build()
            found.load_weights(folder / name)
        else:
            found = keras.saving.load_model(folder / name, compile=False)
        np.testing.assert_allclose(found.layers[0].moving_mean.numpy(), mean, rtol=1e-6)
    save_model(build(), folder / "plain.keras")  # of a model that no strategy knows
    assert (folder / "plain.keras").exists()
    in_list(strategy, x, y)
    (folder / "saved").touch()


class Saves(keras.callbacks.Callback):
    """Saves after each batch by another function, and notes the averages that the file must hold."""

    def __init__(self, folder):
        super().__init__()
        self.folder, self.means = folder, {}
        self.left = [(save_model, "model.keras"), (save_model, "model.h5"), (keras.saving.save_weights, "model.weights.h5")]

    def on_train_batch_end(self, batch, logs=None):
        if self.left:
            function, name = self.left.pop()
            one, other = statistics(self.model)
            assert np.abs(one - other).max() > 0  # each replica follows its own part of the batch
            function(self.model, self.folder / name)
            self.means[name] = (one + other) / 2


def statistics(model):
    """The moving means of the first layer, one for each replica."""
    return [np.asarray(value) for value in model.layers[0].moving_mean.value.values]


def in_list(strategy, x, y):
    """A `CallbackList` of the caller's own gets the averages as well, and is given back as it was."""
    with strategy.scope():
        model = build()
    follow = Follow()
    own = [follow, keras.callbacks.History()]
    callbacks = keras.callbacks.CallbackList(own, model=model, epochs=2, steps=4)
    history = model.fit(x, y, batch_size=16, epochs=2, verbose=0, callbacks=callbacks)
    assert callbacks.callbacks == own and len(history.epoch) == 2
    assert follow.differences[0] > 0 and follow.differences[1:] == [0.0, 0.0], follow.differences
    try:
        model.fit(x, y, verbose=0, callbacks=[callbacks])
    except tfopt.ArgumentError as error:
        assert "a CallbackList within another list" in str(error)
    else:
        raise AssertionError("a list within a list was taken")


class Follow(keras.callbacks.Callback):
    """How far the statistics of the replicas are apart in the middle of the first epoch and at the end of each one."""

    def __init__(self):
        super().__init__()
        self.differences = []

    def on_train_batch_end(self, batch, logs=None):
        if not self.differences:
            self.differences.append(self._difference())

    def on_epoch_end(self, epoch, logs=None):
        self.differences.append(self._difference())

    def _difference(self):
        one, other = statistics(self.model)
        return float(np.abs(one - other).max())


def build():
    """A small net with statistics, compiled."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), keras.layers.BatchNormalization(), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-4), "mse", jit_compile=False)
    return model
