"""Inputs, files and ends of `fit` with two workers. A script: FOLDER; each worker writes FOLDER/found.INDEX.json.

Each worker has paths of its own, so that one sees who wrote what.
"""

import hashlib
import json
import pathlib
import sys

import numpy as np

import tfopt

FOLDER = pathlib.Path(sys.argv[1])
strategy = tfopt.strategy()

import keras  # noqa: E402 - after the strategy
import tensorflow as tf  # noqa: E402

WORKER = strategy.cluster_resolver.task_id
OWN = FOLDER / f"worker{WORKER}"  # nobody makes it but who writes into it
found = {}
x = np.random.default_rng(0).normal(size=(330, 5)).astype("float32")
y = np.arange(330.0).astype("float32")[:, None]
given_x, given_y = x.copy(), y.copy()


class SumOfLabels(keras.metrics.Metric):
    """Tells whether every sample was seen once, by any worker."""

    def __init__(self, power, name):
        super().__init__(name=name)
        self.power, self.total = power, self.add_variable((), "zeros", name="total")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.total.assign_add(keras.ops.sum((y_true / 100.0) ** self.power))

    def result(self):
        return self.total


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return x[index * 64 : (index + 1) * 64], y[index * 64 : (index + 1) * 64]


class Judged(keras.Model):
    """A model with a metric among its attributes, whose variables only all workers together can read."""

    def __init__(self):
        super().__init__()
        self.dense, self.normalization = keras.layers.Dense(1), keras.layers.BatchNormalization()
        self.judge = keras.metrics.Mean(name="judge")

    def call(self, inputs, training=None):
        outputs = self.dense(self.normalization(inputs, training=training))
        self.judge.update_state(outputs)
        return outputs

    def get_config(self):
        return {}


def build(made=None):
    with strategy.scope():
        keras.utils.set_random_seed(0)
        layers = [keras.Input((5,)), keras.layers.BatchNormalization(), keras.layers.Dropout(0.1), keras.layers.Dense(1)]
        model = made() if made else keras.Sequential(layers)
        metrics = [SumOfLabels(1, "sum"), SumOfLabels(2, "squares")]
        model.compile(keras.optimizers.SGD(1e-5, momentum=0.9), "mse", metrics=metrics)
    return model


def digest(model):
    values = [variable.numpy() for variable in [*model.weights, *model.optimizer.variables]]
    return hashlib.sha256(b"".join(np.ascontiguousarray(value).tobytes() for value in values)).hexdigest()


class Follow(keras.callbacks.Callback):
    """What the workers hold between saves, and where one of them stops or fails."""

    def __init__(self, stop_at=None, fail_at=None):
        super().__init__()
        self.stop_at, self.fail_at, self.statistics = stop_at, fail_at, []

    def on_train_batch_end(self, batch, logs=None):
        self.statistics.append(self.model.layers[0].moving_mean.numpy().tolist())

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.stop_at:
            self.model.stop_training = True
        if epoch == self.fail_at:
            raise KeyboardInterrupt


# Inputs: each sample once, whoever shuffles.
dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(330).batch(64)
mine = tf.data.Dataset.from_tensor_slices((x[WORKER:256:2], y[WORKER:256:2])).batch(64).repeat()  # 32 for each worker
options = tf.data.Options()
options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
inputs = {"arrays": (x, y), "dataset": dataset, "PyDataset": Batches(), "each its own": mine.with_options(options)}
inputs |= {"generator": ((x[start : start + 64], y[start : start + 64]) for start in range(0, 330, 64))}
model = build()
for name, data in inputs.items():
    given = {"x": data[0], "y": data[1], "batch_size": 64} if isinstance(data, tuple) else {"x": data}
    history = model.fit(**given, steps_per_epoch=4 if name == "each its own" else None, verbose=0).history
    found[name] = {"sum": history["sum"][0], "squares": history["squares"][0], "loss": history["loss"][0], "digest": digest(model)}
history = model.fit(x[:65], y[:65], batch_size=64, verbose=0).history  # the second batch has a sample for one worker
found["tail"] = {"sum": history["sum"][0], "finite": bool(all(np.isfinite(weight).all() for weight in model.get_weights()))}
found["tail"] |= {
    "digest": digest(model),
    "loss": history["loss"][0],
    "evaluation": model.evaluate(x[:65], y[:65], batch_size=64, verbose=0),
}
found["arrays as given"] = bool(np.array_equal(x, given_x) and np.array_equal(y, given_y))

# Files: those of the chief alone, and statistics in step in each.
follow = Follow()
callbacks = [
    keras.callbacks.ModelCheckpoint(str(OWN / "checkpoints" / "{epoch}.{batch}.keras"), save_freq=2),
    keras.callbacks.CSVLogger(str(FOLDER / f"log{WORKER}.csv")),
    keras.callbacks.TensorBoard(str(OWN / "board")),
    follow,
]
model.fit(x, y, batch_size=64, epochs=2, verbose=0, callbacks=callbacks)
found["statistics"] = follow.statistics
found["after"] = digest(model)
model.save(OWN / "saved.keras") if WORKER == 0 else None  # as many programs do
for name in ("again.keras", "again.weights.h5"):
    (model.save if name.endswith("keras") else model.save_weights)(OWN / name)
model.export(OWN / "exported", verbose=False)
judged = build(Judged)
judged.fit(x, y, batch_size=64, verbose=0)
judged.save(OWN / "judged.keras")

# Ends: one worker stops, all stop; all go on from what the chief restored.
found["epochs"] = len(model.fit(x, y, batch_size=64, epochs=9, verbose=0, callbacks=[Follow(stop_at=1 if WORKER else None)]).epoch)
whole = build()
whole.fit(x, y, batch_size=64, epochs=4, shuffle=False, verbose=0)
backup = OWN / "backup"
broken = build()
try:
    restore = keras.callbacks.BackupAndRestore(str(backup))
    broken.fit(x, y, batch_size=64, epochs=4, shuffle=False, verbose=0, callbacks=[restore, Follow(fail_at=1)])
except KeyboardInterrupt:
    found["backed up"] = backup.exists()
resumed = build()
restore = keras.callbacks.BackupAndRestore(str(backup))
found["went on with"] = resumed.fit(x, y, batch_size=64, epochs=4, shuffle=False, verbose=0, callbacks=[restore]).epoch
found["resumed"], found["whole"] = digest(resumed), digest(whole)

try:
    resumed.compile(keras.optimizers.SGD(), "mse")
except tfopt.ArgumentError as error:
    found["made outside"] = str(error)
(FOLDER / f"found.{WORKER}.json").write_text(json.dumps(found))
