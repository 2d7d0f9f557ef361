"""Prunes, quantizes and distills with two replicas.

Each worker writes found.WORKER.json. It holds, epoch by epoch, a hash of everything that a save would hold (weights, ranges,
statistics) on each replica of the worker, and a hash of the optimizer's state; and what the callbacks logged.
"""

import hashlib
import json

import keras
import numpy as np

import tfopt

rng = np.random.default_rng(0)
y = rng.integers(0, 4, 400)
x = (rng.normal(size=(400, 8, 8, 1)) + y[:, None, None, None]).astype("float32")


def run(strategy, worker, folder):
    """Writes the models, and the findings of one worker, into `folder`."""
    keras.utils.set_random_seed(0)
    found = {}
    with strategy.scope():
        model = build(6)
        checkpoint = keras.callbacks.ModelCheckpoint(str(folder / "pruned.{epoch}.keras"))
        found["pruning"] = fit(strategy, model, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75)), checkpoint)
        model.save(folder / "pruned.keras")

        qat = tfopt.quantize_aware(model)
        evaluation = tfopt.Int8Evaluation((x[:100], y[:100]), validation_freq=3)
        found["quantization"] = fit(strategy, qat, tfopt.PreserveSparsity(), evaluation)
        qat.save(folder / "quantized.keras")

        distiller = tfopt.Distiller(student=tfopt.quantize_aware(build(6)), teacher=build(12), cache=folder / "cache")
    pruning = tfopt.PruningCallback(tfopt.PolynomialDecay(0.5))
    found["distillation"] = fit(strategy, distiller, pruning, validation_data=(x, y))  # outside of the scope
    distiller.student.save(folder / "distilled.keras")
    (folder / f"found.{worker}.json").write_text(json.dumps(found))


def build(width):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(width, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dropout(0.1),
            layers.Dense(16, activation="relu"),
            layers.Dense(4),
        ]
    )


def fit(strategy, model, *callbacks, **options):
    with strategy.scope():
        optimizer = keras.optimizers.Adam(3e-3)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    watch = Watch(strategy)
    history = model.fit(x, y, batch_size=64, epochs=3, verbose=0, callbacks=[*callbacks, watch], **options).history
    return {"seen": watch.seen, "history": {name: [float(value) for value in values] for name, values in history.items()}}


class Watch(keras.callbacks.Callback):
    """What each replica holds, beside `tfopt.pruning`'s zeros."""

    def __init__(self, strategy):
        super().__init__()
        self.strategy, self.seen = strategy, []

    def on_epoch_end(self, epoch, logs=None):
        replicas = len(self.strategy.extended.worker_devices)
        model = getattr(self.model, "student", self.model)
        variables = [model.weights, self.model.optimizer.variables]
        self.seen.append([[self.digest(each, replica) for each in variables] for replica in range(replicas)])

    def digest(self, variables, replica):
        values = [self.strategy.experimental_local_results(variable.value)[replica].numpy() for variable in variables]
        return hashlib.sha256(b"".join(np.ascontiguousarray(value).tobytes() for value in values)).hexdigest()
