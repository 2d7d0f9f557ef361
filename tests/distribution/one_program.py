"""Inputs, files and ends of `fit` with two workers; each worker writes found.WORKER.json.

Each worker has paths of its own, so that one sees who wrote what.
"""

import hashlib
import json

import keras
import numpy as np
import tensorflow as tf

import tfopt

x = np.random.default_rng(0).normal(size=(330, 5)).astype("float32")
y = np.arange(330.0).astype("float32")[:, None]


def run(strategy, worker, folder):
    """Writes the findings of one worker, and the files of its models, into `folder`."""
    own = folder / f"worker{worker}"  # made by the worker that writes into it
    model = build(strategy)
    found = inputs(model, worker) | files(strategy, model, worker, folder) | ends(strategy, model, worker, own)
    (folder / f"found.{worker}.json").write_text(json.dumps(found))


def inputs(model, worker):
    """Each sample is seen once, whoever shuffles."""
    found, given_x, given_y = {}, x.copy(), y.copy()
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(330).batch(64)
    mine = tf.data.Dataset.from_tensor_slices((x[worker:256:2], y[worker:256:2])).batch(64).repeat()  # 32 for each worker
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    sources = {"arrays": (x, y), "dataset": dataset, "PyDataset": Batches(), "each its own": mine.with_options(options)}
    sources |= {"generator": ((x[start : start + 64], y[start : start + 64]) for start in range(0, 330, 64))}
    for name, data in sources.items():
        given = {"x": data[0], "y": data[1], "batch_size": 64} if isinstance(data, tuple) else {"x": data}
        history = model.fit(**given, steps_per_epoch=4 if name == "each its own" else None, verbose=0).history
        found[name] = {key: history[key][0] for key in ("sum", "squares", "loss")} | {"digest": digest(model)}
    history = model.fit(x[:65], y[:65], batch_size=64, verbose=0).history  # the second batch has a sample for one worker
    found["tail"] = {
        "sum": history["sum"][0],
        "finite": bool(all(np.isfinite(weight).all() for weight in model.get_weights())),
        "digest": digest(model),
        "loss": history["loss"][0],
        "evaluation": model.evaluate(x[:65], y[:65], batch_size=64, verbose=0),
    }
    found["arrays as given"] = bool(np.array_equal(x, given_x) and np.array_equal(y, given_y))
    return found


def files(strategy, model, worker, folder):
    """The chief alone writes, and averages the statistics before each save."""
    own, follow = folder / f"worker{worker}", Follow()
    callbacks = [
        keras.callbacks.ModelCheckpoint(str(own / "checkpoints" / "{epoch}.{batch}.keras"), save_freq=2),
        keras.callbacks.CSVLogger(str(folder / f"log{worker}.csv")),
        keras.callbacks.TensorBoard(str(own / "board")),
        follow,
    ]
    model.fit(x, y, batch_size=64, epochs=2, verbose=0, callbacks=callbacks)
    after = digest(model)
    if worker == 0:
        model.save(own / "saved.keras")  # as many programs do
    for name in ("again.keras", "again.weights.h5"):
        (model.save if name.endswith("keras") else model.save_weights)(own / name)
    for name in ("function.keras", "function.h5"):
        keras.saving.save_model(model, own / name)
    keras.saving.save_weights(model, own / "function.weights.h5")
    model.export(own / "exported", verbose=False)
    judged = build(strategy, Judged)
    judged.fit(x, y, batch_size=64, verbose=0)
    judged.save(own / "judged.keras")
    return {"statistics": follow.statistics, "after": after}


def ends(strategy, model, worker, own):
    """If one worker stops, all stop; all go on from what the chief restored."""
    stop = Follow(stop_at=1 if worker else None)
    found = {"epochs": len(model.fit(x, y, batch_size=64, epochs=9, verbose=0, callbacks=[stop]).epoch)}
    listed = [
        Follow(stop_at=1 if worker else None),
        keras.callbacks.ModelCheckpoint(str(own / "listed.keras")),
        keras.callbacks.History(),
    ]
    given = keras.callbacks.CallbackList(listed, model=model, epochs=9, steps=6)
    found["epochs with a list"] = len(model.fit(x, y, batch_size=64, epochs=9, verbose=0, callbacks=given).epoch)
    whole = build(strategy)
    whole.fit(x, y, batch_size=64, epochs=4, shuffle=False, verbose=0)
    backup = own / "backup"
    broken = build(strategy)
    try:
        restore = keras.callbacks.BackupAndRestore(str(backup))
        broken.fit(x, y, batch_size=64, epochs=4, shuffle=False, verbose=0, callbacks=[restore, Follow(fail_at=1)])
    except KeyboardInterrupt:
        found["backed up"] = backup.exists()
    resumed = build(strategy)
    restore = keras.callbacks.BackupAndRestore(str(backup))
    found["went on with"] = resumed.fit(x, y, batch_size=64, epochs=4, shuffle=False, verbose=0, callbacks=[restore]).epoch
    found["resumed"], found["whole"] = digest(resumed), digest(whole)
    try:
        resumed.compile(keras.optimizers.SGD(), "mse")
    except tfopt.ArgumentError as error:
        found["made outside"] = str(error)
    return found


def build(strategy, made=None):
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
