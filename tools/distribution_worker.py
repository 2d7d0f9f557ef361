"""One process of `bench_distribution.py`, started by `tfopt launch`: trains when it is its job's turn and writes its times.

    tfopt launch [-n 2] --threads-per-worker 1 tools/distribution_worker.py FOLDER NAME BATCH KIND ROUNDS STEPS

KIND: "alone" trains without a strategy, whatever TF_CONFIG says; "together" under `tfopt.strategy("multi_worker")`. The file
FOLDER/NAME.go.R begins round R; this worker answers with FOLDER/NAME.done.R.INDEX.json.
"""

import itertools
import json
import os
import pathlib
import sys
import time

import numpy as np

# Floats in a tensor, for the time of an all-reduce by size.
PROBES = (1 << 8, 1 << 16, 1 << 18, 1 << 20, 1 << 22)


def make_model(keras):
    """A CNN for images of 32 x 32 with much to compute for its few parameters."""
    layers = keras.layers
    model = keras.Sequential([keras.Input((32, 32, 3), name="image")])
    for index, (filters, strides) in enumerate(((32, 1), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1))):
        model.add(layers.Conv2D(filters, 3, strides, padding="same", activation="relu", name=f"conv{index}"))
    model.add(layers.GlobalAveragePooling2D(name="pool"))
    model.add(layers.Dense(10, name="class"))
    return model


def steps_of(keras, model, data, steps):
    """Seconds of each step of one `fit`, from the end of a batch to the end of the next."""
    ends = []

    class Timer(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            ends.append(time.perf_counter())

    model.fit(data, steps_per_epoch=steps + 1, epochs=1, verbose=0, callbacks=[Timer()])
    return [after - before for before, after in itertools.pairwise(ends)]


def probe(tf, strategy, repeats=10):
    """{bytes of a tensor: seconds of its all-reduce}."""
    seconds = {}
    for size in PROBES:

        @tf.function
        def reduce(tensor):
            def chained(value):
                for _ in range(repeats):
                    # Each waits for the one before, as its input; the product gives it the replica's device.
                    value = tf.distribute.get_replica_context().all_reduce("MEAN", 1.0 * value)
                return value

            return strategy.run(chained, args=(tensor,))

        tensor = tf.ones(size)
        reduce(tensor)
        begin = time.perf_counter()
        reduce(tensor)
        seconds[4 * size] = (time.perf_counter() - begin) / repeats
    return seconds


def wait_for(path):
    """Returns once a file exists; the launcher ends this process if that never comes."""
    while not path.exists():
        time.sleep(0.005)


def main():
    folder, name, batch, kind, rounds, steps = sys.argv[1:]
    folder, batch, rounds, steps = pathlib.Path(folder), int(batch), int(rounds), int(steps)
    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    if kind == "together":
        import tfopt

        strategy = tfopt.strategy("multi_worker", sharding="off")
    import keras
    import tensorflow as tf

    if kind == "alone":
        strategy = tf.distribute.get_strategy()  # the one that does nothing
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = make_model(keras)
        model.compile(keras.optimizers.SGD(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(index)
    # Every worker has its own batch ready: what is measured is the step, not the reading.
    images, labels = rng.random((batch, 32, 32, 3), "float32"), rng.integers(0, 10, batch)
    data = tf.data.Dataset.from_tensors((images, labels)).repeat()
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    options.autotune.enabled = False
    data = data.with_options(options)
    for round_index in range(rounds + 1):  # the first traces and warms up
        wait_for(folder / f"{name}.go.{round_index}")
        began, cpu = time.perf_counter(), time.process_time()
        answer = {"seconds": steps_of(keras, model, data, steps if round_index else 3)}
        answer["cpu"] = (time.process_time() - cpu) / (time.perf_counter() - began)
        if kind == "together":
            answer["all_reduce"] = probe(tf, strategy)
        answer["trainable"] = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
        done = folder / f"{name}.done.{round_index}.{index}.json"
        done.with_suffix(".tmp").write_text(json.dumps(answer))
        done.with_suffix(".tmp").rename(done)


if __name__ == "__main__":
    main()
