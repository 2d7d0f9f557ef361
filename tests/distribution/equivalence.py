"""Trains the same nets on the same data, with one replica or with several."""

import keras
import numpy as np
from in_scope import save_found

STEPS, BATCH = 50, 64


def run(strategy, worker, folder):
    """Writes the findings of one worker into `folder`."""
    save_found(strategy, worker, folder, train)


def train(make):
    """dict of arrays: weights, metrics, evaluation and predictions of each net.

    Args:
        make: function of a function that builds a model, which it calls in its scope.
    """
    x, y = data()
    found = {}
    for name in ("plain", "normalized", "eights"):
        model = make(lambda name=name: build(name == "normalized", 8 if name == "eights" else 1))
        history = model.fit(x, y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0).history
        found |= {f"{name}_weight{index}": weight for index, weight in enumerate(model.get_weights())}
        found |= {f"{name}_{key}": np.array(values) for key, values in history.items()}
        found[f"{name}_evaluation"] = np.array(model.evaluate(x[:500], y[:500], batch_size=BATCH, verbose=0))
        if name != "eights":  # its weights are those of "plain"
            found[f"{name}_predictions"] = model.predict(x[:100], batch_size=BATCH, verbose=0)
    return found | fit_on_views(make)


def data(samples=STEPS * BATCH):
    """Features and labels of three classes that can be told apart."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, samples)
    return (rng.normal(size=(samples, 8, 8, 1)) + y[:, None, None, None]).astype("float32"), y


def build(normalization=False, steps=1):
    """A small CNN, compiled; with BatchNormalization that sees whole batches, or without any; `steps` in one execution."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input((8, 8, 1)), keras.layers.Conv2D(6, 3, activation="relu")]
    layers += [keras.layers.BatchNormalization(synchronized=True)] if normalization else []
    layers += [keras.layers.Flatten(), keras.layers.Dense(16, activation="tanh"), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    metrics = ["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2)]
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss, metrics=metrics, steps_per_execution=steps)
    return model


def fit_on_views(make):
    """dict of arrays: what `fit` counts on batches that are parts of arrays in NumPy's memory, and those arrays after it."""
    x = np.random.default_rng(1).normal(size=(330, 5)).astype("float32")
    y = np.arange(330.0, dtype="float32")[:, None]

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 6

        def __getitem__(self, index):
            return x[index * BATCH : (index + 1) * BATCH], y[index * BATCH : (index + 1) * BATCH]

    class Hundredths(keras.metrics.Mean):
        def update_state(self, y_true, y_pred, sample_weight=None):
            return super().update_state((y_true / 100.0) ** 2)  # which may be computed in the place of y_true

    def build_on_views():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((5,)), keras.layers.Rescaling(2.0), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(1e-5), "mse", metrics=[Hundredths(name="hundredths")])
        return model

    history = make(build_on_views).fit(Batches(), epochs=3, shuffle=False, verbose=0).history
    return {"views_hundredths": np.array(history["hundredths"]), "views_x": x, "views_y": y}
