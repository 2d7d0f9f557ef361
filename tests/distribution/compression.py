"""Prunes, quantizes and distils under a strategy. A script: KIND FOLDER; each worker writes FOLDER/found.INDEX.json.

It holds, epoch by epoch, a hash of all that a save would hold (weights, ranges, statistics) on each replica of the worker, and of
the optimizer's state; and what the callbacks logged.
"""

import hashlib
import json
import pathlib
import sys

import numpy as np

import tfopt

KIND, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])
strategy = tfopt.strategy(KIND, logical_devices=2 if KIND == "mirrored" else None)

import keras  # noqa: E402 - after the strategy

WORKER = strategy.cluster_resolver.task_id if KIND == "multi_worker" else 0
rng = np.random.default_rng(0)
y = rng.integers(0, 4, 400)
x = (rng.normal(size=(400, 8, 8, 1)) + y[:, None, None, None]).astype("float32")


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


def digest(variables, replica):
    values = [strategy.experimental_local_results(variable.value)[replica].numpy() for variable in variables]
    return hashlib.sha256(b"".join(np.ascontiguousarray(value).tobytes() for value in values)).hexdigest()


class Watch(keras.callbacks.Callback):
    """What each replica holds, beside `tfopt.pruning`'s zeros."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        replicas = len(strategy.extended.worker_devices)
        model = getattr(self.model, "student", self.model)
        variables = [model.weights, self.model.optimizer.variables]
        self.seen.append([[digest(each, replica) for each in variables] for replica in range(replicas)])


def fit(model, *callbacks, **options):
    with strategy.scope():
        optimizer = keras.optimizers.Adam(3e-3)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    watch = Watch()
    history = model.fit(x, y, batch_size=64, epochs=3, verbose=0, callbacks=[*callbacks, watch], **options).history
    return {"seen": watch.seen, "history": {name: [float(value) for value in values] for name, values in history.items()}}


found = {}
with strategy.scope():
    model, teacher = build(6), build(12)
    checkpoint = keras.callbacks.ModelCheckpoint(str(FOLDER / "pruned.{epoch}.keras"))
    found["pruning"] = fit(model, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75)), checkpoint)
    model.save(FOLDER / "pruned.keras")

    qat = tfopt.quantize_aware(model)
    found["quantization"] = fit(qat, tfopt.PreserveSparsity(), tfopt.Int8Evaluation((x[:100], y[:100]), validation_freq=3))
    qat.save(FOLDER / "quantized.keras")

    fit(teacher)
    distiller = tfopt.Distiller(student=tfopt.quantize_aware(build(6)), teacher=teacher, cache=FOLDER / "cache")
found["distillation"] = fit(distiller, tfopt.PruningCallback(tfopt.PolynomialDecay(0.5)), validation_data=(x, y))  # outside
distiller.student.save(FOLDER / "distilled.keras")
(FOLDER / f"found.{WORKER}.json").write_text(json.dumps(found))
