"""What a pruned training step costs: Keras 3 with tfopt and tf_keras with tfmot, each against its own plain step, in one run.

    python tools/bench_pruning.py [--rounds 6] [--steps 200] [--threads N]

The same net (convolutions and dense layers, 1.07 M weights, images of 28 x 28, batches of 64) trains through `fit` in four ways, in
turn: Keras 3, Keras 3 with `PruningCallback(PolynomialDecay(0.8))`, tf_keras, and tf_keras with `prune_low_magnitude` and
`UpdatePruningStep`. A step is timed from the end of one batch to the end of the next, so whatever callbacks do in between counts,
the updates of the masks too. Each round is a run of its own: it begins with the dense weights and a new schedule, so its masks are
updated, 50 times as by default, and it must end at 80 % zeros. The first step, which traces, and a first round are not counted.

Printed for each side: median, minimum and mean of all steps, and the median of the steps that update the masks and of those that do
not. Then the ratios pruned / plain. The median leaves the updates out where they fall on fewer than half of the steps, and the mean
of a short round has too many of them: a run has 50, however long it is. So the last column puts 50 updates into a run of 10 epochs
of 60,000 images.
"""

import argparse
import os
import statistics
import sys
import time

BATCH = 64
SPARSITY = 0.8
END = 0.75  # of the steps; the default of tfopt.PolynomialDecay
UPDATES = 50  # of the masks; the default of tfopt.PruningCallback
LIMIT = 1.05


def prune_with_tfmot(model, sparsity, end, frequency):
    """A copy of a tf_keras model whose convolutions and dense layers, but not its last layer, are wrapped for pruning."""
    import tf_keras

    from tfopt.keras2 import door

    tfmot_keras = door.tfmot().sparsity.keras
    schedule = tfmot_keras.PolynomialDecay(0.0, sparsity, begin_step=0, end_step=end, frequency=frequency)

    def wrap(layer):
        if isinstance(layer, (tf_keras.layers.Conv2D, tf_keras.layers.Dense)) and layer is not model.layers[-1]:
            return tfmot_keras.prune_low_magnitude(layer, pruning_schedule=schedule)
        return layer  # the same object, with its weights

    return tf_keras.models.clone_model(model, clone_function=wrap)


def make_model(keras):
    """The net of either Keras."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            layers.Conv2D(32, 3, padding="same", activation="relu", name="conv1"),
            layers.MaxPooling2D(name="pool1"),
            layers.Conv2D(64, 3, padding="same", activation="relu", name="conv2"),
            layers.MaxPooling2D(name="pool2"),
            layers.Flatten(name="flatten"),
            layers.Dense(320, activation="relu", name="dense1"),
            layers.Dense(128, activation="relu", name="dense2"),
            layers.Dense(10, name="class"),
        ]
    )


class Timer:
    """Makes callbacks of either Keras that collect the seconds from the end of a batch to the end of the next."""

    def __init__(self):
        self.seconds = []  # of the second step of a run and those after

    def callback(self, keras):
        seconds = self.seconds

        class Callback(keras.callbacks.Callback):
            last = None

            def on_train_batch_end(self, batch, logs=None):
                now = time.perf_counter()
                if self.last is not None:
                    seconds.append(now - self.last)
                self.last = now

        return Callback()


class Side:
    """A compiled model with the callbacks that prune it, the steps of a round that update its masks, and its times by round."""

    def __init__(self, keras, model, make_callbacks, updates):
        self.keras, self.model, self.make_callbacks, self.updates = keras, model, make_callbacks, updates
        model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.optimizer.build(model.trainable_variables)
        self.start = model.get_weights()
        self.rounds = []

    def run(self, x, y):
        """One round from the dense weights on."""
        self.model.set_weights(self.start)
        self.model.optimizer.iterations.assign(0)  # where the schedule of tfmot begins
        timer = Timer()
        callbacks = [timer.callback(self.keras), *self.make_callbacks()]
        self.model.fit(x, y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0, callbacks=callbacks)
        self.rounds.append([1000 * second for second in timer.seconds])

    def sparsity(self):
        """Fraction of zeros in the kernels that are pruned."""
        # A wrapper of tfmot has the mask, of the same shape, among its weights: the kernel is the trainable one.
        kernels = [layer.trainable_weights[0].numpy() for layer in self.model.layers if layer.trainable_weights][:-1]
        return sum(int((kernel == 0).sum()) for kernel in kernels) / sum(kernel.size for kernel in kernels)

    def times(self, chosen=None):
        """Times of all rounds; `chosen`: None for all steps, or the set of those asked for."""
        # The first time of a round is that of step 1.
        return [value for times in self.rounds for step, value in enumerate(times, 1) if chosen is None or step in chosen]


def make_sides(steps):
    """The four sides, by name."""
    import keras
    import tf_keras

    import tfopt
    from tfopt.keras2 import door

    tfmot = door.tfmot()
    end = round(END * steps)
    frequency = max(1, end // UPDATES)
    keras.utils.set_random_seed(0)
    start = make_model(keras).get_weights()

    def build(module):
        model = make_model(module)
        model.set_weights(start)
        return model

    def tfopt_callbacks():
        return [tfopt.PruningCallback(tfopt.PolynomialDecay(SPARSITY))]

    def tfmot_callbacks():
        return [tfmot.sparsity.keras.UpdatePruningStep()]

    wrapped = prune_with_tfmot(build(tf_keras), SPARSITY, end, frequency)
    updates = set(range(0, end + 1, frequency)) | {end}
    updates_of_tfmot = {step - 1 for step in range(frequency, end + 1, frequency)}  # its wrapper counts the step first
    return {
        "Keras 3": Side(keras, build(keras), list, set()),
        "Keras 3, tfopt": Side(keras, build(keras), tfopt_callbacks, updates),
        "tf_keras": Side(tf_keras, build(tf_keras), list, set()),
        "tf_keras, tfmot": Side(tf_keras, wrapped, tfmot_callbacks, updates_of_tfmot),
    }


def print_tables(sides, steps):
    """Prints the times in ms, then the ratios pruned / plain."""
    print(f"{'ms of a step':18}{'median':>10}{'minimum':>10}{'mean':>10}{'with update':>14}{'without':>10}")
    for name, side in sides.items():
        times = side.times()
        cells = f"{statistics.median(times):>10.2f}{min(times):>10.2f}{statistics.mean(times):>10.2f}"
        if "," in name:
            others = set(range(steps)) - side.updates
            cells += f"{statistics.median(side.times(side.updates)):>14.2f}{statistics.median(side.times(others)):>10.2f}"
        print(f"{name:18}{cells}")
    print()
    print(f"{'pruned / plain':18}{'median':>10}{'of rounds':>16}{'minimum':>10}{'mean':>10}{'10 epochs':>12}")
    medians = {}
    for name, side in sides.items():
        if "," not in name:
            continue
        plain, pruned = sides[name.partition(",")[0]], side
        medians[name], spread, least, mean = ratios(pruned, plain)
        without, long_run = statistics.median(pruned.times(set(range(steps)) - pruned.updates)), 10 * -(-60_000 // BATCH)
        update = statistics.median(pruned.times(pruned.updates)) - without
        long = (without + UPDATES * update / long_run) / statistics.median(plain.times())
        print(f"{name:18}{medians[name]:>10.3f}{spread:>16}{least:>10.3f}{mean:>10.3f}{long:>12.3f}")
    print_verdict(medians, LIMIT)


def ratios(side, plain):
    """Times of a step against those of the plain side: (median, "least..most" of the rounds' medians, minimum, mean)."""
    pairs = zip(side.rounds, plain.rounds, strict=True)
    by_round = [statistics.median(ours) / statistics.median(theirs) for ours, theirs in pairs]
    median, least, mean = (figure(side.times()) / figure(plain.times()) for figure in (statistics.median, min, statistics.mean))
    return median, f"{min(by_round):.3f}..{max(by_round):.3f}", least, mean


def print_verdict(medians, limit):
    """Says whether tfopt's median, of a dict by side, is within the limit."""
    ours = medians["Keras 3, tfopt"]
    print(f"\nmedian of tfopt: {ours:.3f}, at most {limit} allowed: {'ok' if ours <= limit else 'MISSED'}")


def make_data(steps, threads):
    """(images, labels) of random numbers for a round; limits TensorFlow's threads first if `threads` is not None."""
    import numpy as np
    import tensorflow as tf

    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    generator = np.random.default_rng(0)
    x = generator.random((steps * BATCH, 28, 28, 1), dtype="float32")
    return x, generator.integers(0, 10, len(x))


def main():
    """Runs the benchmark and prints its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=200, help="of a round, at least 140 for steps without an update")
    parser.add_argument("--threads", type=int, help="of TensorFlow, in one op; default: its own")
    arguments = parser.parse_args()
    if arguments.steps < 140 or arguments.rounds < 1:
        parser.error("a round must have at least 140 steps, or each step up to the end of the schedule updates the masks")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    x, y = make_data(arguments.steps, arguments.threads)
    sides = make_sides(arguments.steps)
    size = sides["Keras 3"].model.count_params()
    print(f"{size:,} weights, batches of {BATCH}, {arguments.rounds} rounds of {arguments.steps} steps")
    for number in range(arguments.rounds + 1):
        for name, side in sides.items():
            side.run(x, y)
            if "," in name and abs(side.sparsity() - SPARSITY) > 1e-3:
                sys.exit(f"{name}: {side.sparsity():.4f} of the kernels is zero instead of {SPARSITY}")
            print(f"round {number}, {name}: {statistics.median(side.rounds[-1]):.2f} ms", file=sys.stderr, flush=True)
            if number == 0:
                side.rounds.clear()  # warm-up
    print_tables(sides, arguments.steps)


if __name__ == "__main__":
    main()
