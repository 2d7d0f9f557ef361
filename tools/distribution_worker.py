"""One process of `bench_distribution.py`: trains when it is the turn of its job, and writes its times.

    tfopt launch [-n 2] --threads-per-worker 1 tools/distribution_worker.py FOLDER NAME BATCH KIND ROUNDS STEPS

KIND: "alone" trains without a strategy, whatever TF_CONFIG says; "together" under `tfopt.strategy("multi_worker")`. The file
FOLDER/NAME.go.R begins round R; this worker answers with FOLDER/NAME.done.R.INDEX.json.
"""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

# Sizes of the tensors for the all-reduce, in floats.
PROBES = (1 << 8, 1 << 16, 1 << 18, 1 << 20, 1 << 22)


def make_model() -> keras.Model:
    """Makes a CNN for images of 32 x 32 with much computation for its few parameters."""
    import keras

    layers = keras.layers
    model = keras.Sequential([keras.Input((32, 32, 3), name="image")])
    for index, (filters, strides) in enumerate(((32, 1), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1))):
        model.add(layers.Conv2D(filters, 3, strides, padding="same", activation="relu", name=f"conv{index}"))
    model.add(layers.GlobalAveragePooling2D(name="pool"))
    model.add(layers.Dense(10, name="class"))
    return model


def steps_of(model: keras.Model, data: tf.data.Dataset, steps: int) -> list[float]:
    """Returns the seconds of each step of one `fit`, from the end of a batch to the end of the next batch."""
    import keras

    ends = []

    class Timer(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
            ends.append(time.perf_counter())

    model.fit(data, steps_per_epoch=steps + 1, epochs=1, verbose=0, callbacks=[Timer()])
    return [after - before for before, after in itertools.pairwise(ends)]


def probe(strategy: tf.distribute.Strategy, repeats: int = 10) -> dict[int, float]:
    """Times all-reduces, and returns the size of a tensor in bytes -> seconds of its all-reduce."""
    import tensorflow as tf

    seconds = {}
    for size in PROBES:

        @tf.function
        def reduce(tensor: tf.Tensor) -> tf.Tensor:
            def chained(value: tf.Tensor) -> tf.Tensor:
                for _ in range(repeats):
                    # Each all-reduce waits for its input, the one before; the product gives it the replica's device.
                    value = tf.distribute.get_replica_context().all_reduce("MEAN", 1.0 * value)
                return value

            return strategy.run(chained, args=(tensor,))

        tensor = tf.ones(size)
        reduce(tensor)
        begin = time.perf_counter()
        reduce(tensor)
        seconds[4 * size] = (time.perf_counter() - begin) / repeats
    return seconds


def wait_for(path: pathlib.Path) -> None:
    """Returns once a file exists. The launcher ends this process if the file never comes."""
    while not path.exists():
        time.sleep(0.005)


def main() -> None:
    name, kind = sys.argv[2], sys.argv[4]
    folder, batch, rounds, steps = pathlib.Path(sys.argv[1]), int(sys.argv[3]), int(sys.argv[5]), int(sys.argv[6])
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
        model = make_model()
        model.compile(keras.optimizers.SGD(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(index)
    # Every worker has its own batch in memory, so that the step is measured and not the reading.
    images, labels = rng.random((batch, 32, 32, 3), "float32"), rng.integers(0, 10, batch)
    data = tf.data.Dataset.from_tensors((images, labels)).repeat()
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    options.autotune.enabled = False
    data = data.with_options(options)
    for round_index in range(rounds + 1):  # the first traces and warms up
        wait_for(folder / f"{name}.go.{round_index}")
        began, cpu = time.perf_counter(), time.process_time()
        answer: dict[str, Any] = {"seconds": steps_of(model, data, steps if round_index else 3)}
        answer["cpu"] = (time.process_time() - cpu) / (time.perf_counter() - began)
        if kind == "together":
            answer["all_reduce"] = probe(strategy)
        answer["trainable"] = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
        done = folder / f"{name}.done.{round_index}.{index}.json"
        done.with_suffix(".tmp").write_text(json.dumps(answer))
        done.with_suffix(".tmp").rename(done)


if __name__ == "__main__":
    main()
