"""Trains a small ResNet on Fashion-MNIST dense, at 80 % and at 90 % sparsity, with tfopt on Keras 3 and with tfmot on tf_keras.

    python tools/accuracy_pruning.py [--work FOLDER] [--data FOLDER] [--epochs 12] [--seeds 3] [--threads N] [--jobs N]

The data are those of Debian's package `dataset-fashion-mnist` (`--data`: a folder with the four idx files in gzip). All six
configurations of a seed start from the same weights, see the same batches in the same order and train for the same number of
epochs on the first 20,000 training images, without augmentation, with Adam and a cosine decay. Pruning begins with the first step
and ends after half of them; the kernels of all layers but the output layer are pruned, by tfmot at the same steps as by tfopt;
tfopt with one threshold for all of them (`scope="global"`), tfmot each by itself, as it knows no other
way. The accuracy is that on the 10,000 test images after the last epoch; no epoch is chosen.

The work goes on where it stopped: FOLDER/results.jsonl has a line for each run, and a run that is there is not repeated. The table
is printed at the end: mean, minimum and maximum over the seeds, and the drop against the dense model of the same seed and Keras,
in points. `--table` prints what is there and trains nothing.
"""

import gzip
import json
import pathlib
import statistics
import subprocess
import sys
import time

from resumable_runs import complete, limit_threads, make_parser

SPARSITIES = {"dense": None, "80 %": 0.8, "90 %": 0.9}
KERASES = ("Keras 3", "tf_keras")
BATCH = 64
IMAGES = 20_000  # of the 60,000: dense and pruned models then converge in a few minutes
LEARNING_RATE = 2e-3
END = 0.5  # of the steps; pruned weights have the other half to recover
UPDATES = 50  # of the masks; the default of tfopt.PruningCallback
PACKAGE = "dataset-fashion-mnist"


def find_data():
    """The folder of Debian's package."""
    try:
        listed = subprocess.run(["dpkg", "-L", PACKAGE], capture_output=True, text=True)
    except FileNotFoundError:  # not a Debian
        listed = None
    found = [line for line in listed.stdout.splitlines() if line.endswith("train-images-idx3-ubyte.gz")] if listed else []
    if not found:
        sys.exit(f"Fashion-MNIST is not here: apt-get install {PACKAGE}, or give the folder of its four .gz files with --data.")
    return pathlib.Path(found[0]).parent


def read_idx(path):
    """The uint8 array of an idx file in gzip."""
    import numpy as np

    if not path.exists():
        sys.exit(f"{path} is missing: --data must be a folder with the four .gz files of Fashion-MNIST.")
    content = gzip.decompress(path.read_bytes())
    rank = content[3]
    shape = np.frombuffer(content, ">i4", rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def load(folder):
    """(x_train, y_train), (x_test, y_test); images float32 in [0, 1], (count, 28, 28, 1)."""
    pairs = []
    for part in ("train", "t10k"):
        images, labels = read_idx(folder / f"{part}-images-idx3-ubyte.gz"), read_idx(folder / f"{part}-labels-idx1-ubyte.gz")
        pairs.append(((images[..., None] / 255).astype("float32"), labels.astype("int32")))
    return pairs


def make_model(keras):
    """A small ResNet of either Keras: a block each of 32, 64 and 128 channels, on 7 x 7, 4 x 4 and 2 x 2 positions."""
    layers = keras.layers

    def convolve(x, channels, size, strides, name):
        x = layers.Conv2D(channels, size, strides, padding="same", use_bias=False, name=name)(x)
        return layers.BatchNormalization(name=f"{name}_norm")(x)

    image = keras.Input((28, 28, 1), name="image")
    x = layers.ReLU(name="stem_relu")(convolve(image, 32, 3, 2, "stem"))
    x = layers.MaxPooling2D(name="stem_pool")(x)
    for channels, strides in ((32, 1), (64, 2), (128, 2)):
        name = f"block{channels}"
        trunk = x if strides == 1 else convolve(x, channels, 1, strides, f"{name}_shortcut")
        x = layers.ReLU(name=f"{name}_relu1")(convolve(x, channels, 3, strides, f"{name}_conv1"))
        x = convolve(x, channels, 3, 1, f"{name}_conv2")
        x = layers.ReLU(name=f"{name}_relu2")(layers.Add(name=f"{name}_add")([x, trunk]))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(10, name="class")(x))


def train_one(run, arguments):
    """Trains one configuration in this process and returns its result, a dict."""
    import keras
    import tensorflow as tf

    limit_threads(arguments.threads)
    kind, sparsity, seed = run["keras"], SPARSITIES[run["sparsity_wanted"]], run["seed"]
    (x_train, y_train), (x_test, y_test) = load(arguments.data)
    x_train, y_train = x_train[:IMAGES], y_train[:IMAGES]
    keras.utils.set_random_seed(seed)
    model = make_model(keras)
    epochs = arguments.epochs
    steps = epochs * -(-len(x_train) // BATCH)
    callbacks = []
    if kind == "Keras 3":
        used = keras
        if sparsity:
            import tfopt
            from tfopt.keras2 import door

            callbacks = [tfopt.PruningCallback(tfopt.PolynomialDecay(sparsity, end=END), scope="global")]
    else:
        import tf_keras as used

        twin = make_model(used)
        for layer in model.layers:
            twin.get_layer(layer.name).set_weights(layer.get_weights())
        model = twin
        if sparsity:
            from bench_pruning import prune_with_tfmot

            import tfopt
            from tfopt.keras2 import door

            end = round(END * steps)
            model = prune_with_tfmot(model, sparsity, end, end // UPDATES)
            callbacks = [door.tfmot().sparsity.keras.UpdatePruningStep()]
    images, labels = tf.constant(x_train), tf.constant(y_train)
    order = tf.data.Dataset.range(len(x_train)).shuffle(len(x_train), seed=seed)  # a new order each epoch, the same for all
    batches = order.batch(BATCH).map(lambda chosen: (tf.gather(images, chosen), tf.gather(labels, chosen))).prefetch(2)
    model.compile(
        used.optimizers.Adam(used.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)),
        used.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    start = time.perf_counter()
    history = model.fit(batches, epochs=epochs, verbose=0, shuffle=False, callbacks=callbacks).history  # shuffled above
    seconds = time.perf_counter() - start
    if kind == "tf_keras" and sparsity:
        model = door.tfmot().sparsity.keras.strip_pruning(model)
        model.compile(loss=used.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    loss, accuracy = model.evaluate(x_test, y_test, batch_size=500, verbose=0)
    kernels = [layer.get_weights()[0] for layer in model.layers if layer.weights and "norm" not in layer.name][:-1]
    return {
        "accuracy": accuracy,
        "loss": loss,
        "training_accuracy": history["accuracy"][-1],
        "sparsity": 1 - sum(int((kernel != 0).sum()) for kernel in kernels) / sum(kernel.size for kernel in kernels),
        "parameters": int(model.count_params()),
        "seconds": round(seconds, 1),
    }


def print_table(results):
    """Prints mean, minimum and maximum of each configuration, and its drop against the dense model of the same seed."""
    accuracies = {(result["keras"], result["sparsity_wanted"], result["seed"]): 100 * result["accuracy"] for result in results}
    print("| keras | sparsity | seeds | zeros in the kernels | accuracy, mean | min..max | drop, mean | min..max |")
    print("|" + " --- |" * 8)
    drops = {}
    for kind in KERASES:
        for name in SPARSITIES:
            own = {seed: value for (*key, seed), value in accuracies.items() if key == [kind, name]}
            if not own:
                continue
            zeros = [each["sparsity"] for each in results if (each["keras"], each["sparsity_wanted"]) == (kind, name)]
            pairs = [accuracies[kind, "dense", seed] - value for seed, value in own.items() if (kind, "dense", seed) in accuracies]
            cells = [kind, name, len(own), f"{100 * statistics.mean(zeros):.2f} %"]
            cells += [f"{statistics.mean(own.values()):.2f} %", f"{min(own.values()):.2f}..{max(own.values()):.2f}"]
            if pairs and name != "dense":
                drops[kind, name] = statistics.mean(pairs)
                cells += [f"{drops[kind, name]:+.2f}", f"{min(pairs):+.2f}..{max(pairs):+.2f}"]
            print(f"| {' | '.join(map(str, [*cells, '', ''][:8]))} |")
    for name, limit in (("80 %", 0.5), ("90 %", 1.0)):
        if (KERASES[0], name) in drops:
            ours = drops[KERASES[0], name]
            print(f"{name}: a drop of {ours:.2f} points, at most {limit} allowed: {'ok' if ours <= limit else 'MISSED'}")
            shared = [
                accuracies[KERASES[1], name, seed] - accuracies[KERASES[0], name, seed]
                for seed in {seed for *_, seed in accuracies}
                if all((kind, name, seed) in accuracies for kind in KERASES)
            ]
            if shared:
                worse = statistics.mean(shared)
                print(f"{name}: {worse:+.2f} points below tfmot, at most 0.2 allowed: {'ok' if worse <= 0.2 else 'MISSED'}")


def main():
    """Trains what is missing and prints the table."""
    arguments = make_parser(__doc__, "accuracy_pruning", epochs=12).parse_args()
    arguments.data = arguments.data or find_data()
    if arguments.one:
        print(json.dumps(train_one(arguments.one, arguments)))
        return
    runs = [
        {"keras": kind, "sparsity_wanted": name, "seed": seed, "epochs": arguments.epochs}
        for seed in range(arguments.seeds)
        for kind in KERASES
        for name in SPARSITIES
    ]
    runs.sort(key=lambda run: (run["keras"], run["sparsity_wanted"]) == ("tf_keras", "dense"))  # least needed, so last
    print_table(complete(arguments, [runs]))


if __name__ == "__main__":
    main()
