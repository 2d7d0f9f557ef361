"""Accuracy of int8 on Fashion-MNIST for two small nets: after training in float, after tfopt's QAT, and after that of tfmot.

    python tools/accuracy_qat.py [--work FOLDER] [--data FOLDER] [--epochs 8] [--tune 3] [--seeds 3] [--threads N] [--jobs N]

The data are those of Debian's package `dataset-fashion-mnist` (`--data`: a folder with the four idx files in gzip). For each seed
a ResNet and a MobileNetV3 train in float on the first 20,000 training images, without augmentation, with Adam and a cosine decay.
All else begins with these weights. "PTQ int8" is `tfopt.convert` with 200 training images for the ranges. "QAT int8" and
"QAT 4-bit" train `tfopt.quantize_aware` for `--tune` more epochs at a low rate that decays as well, and are converted with the
ranges of that training; the file of the second holds its 4-bit weights as int8. "tfmot QAT int8" is `quantize_model` of tfmot on
the same net in tf_keras, with the weights, batches, epochs and rates of "QAT int8"; if it refuses the net, its words are in the
table. "pruned" trains the float model for `--epochs` more epochs, with 80 % of all weights zero from the middle of them on, and
"pruned QAT int8" goes on from there as "QAT int8" does from the float model, with `PreserveSparsity`; the run fails if its file
does not have the zeros of the model, to the weight. All accuracies are those of the int8 file (of "float" and "pruned": of the
Keras model) on the 10,000 test images after the last epoch; no epoch is chosen.

The work goes on where it stopped: FOLDER/results.jsonl has a line for each run, and a run that is there is not repeated; the float
models are beside it. The table is printed at the end: mean, minimum and maximum over the seeds, and the difference to the float
model of the same seed, in points. `--table` prints what is there and trains nothing. Whether all works can be seen in a few
minutes with `--images 600 --epochs 1 --tune 1 --seeds 1`.
"""

import json
import math
import re
import statistics
import sys
import time

from accuracy_pruning import find_data, load
from resumable_runs import complete, limit_threads, make_parser

BATCH = 64
IMAGES = 20_000  # of the 60,000: the nets then converge in a few minutes
EPOCHS = 8
TUNING_EPOCHS = 3
LEARNING_RATE = 2e-3
# Of QAT; coarser weights have further to go.
TUNING_RATES = {"QAT int8": 2e-4, "QAT 4-bit": 5e-4, "tfmot QAT int8": 2e-4, "pruned QAT int8": 2e-4}
PRUNING_RATE, SPARSITY = 1e-3, 0.8
REPRESENTATIVE = 200  # images for the ranges of PTQ
TEST_BATCH = 500  # of the int8 file
STAGES = (("float",), ("PTQ int8", "QAT int8", "QAT 4-bit", "tfmot QAT int8", "pruned"), ("pruned QAT int8",))
WHATS = tuple(what for stage in STAGES for what in stage)
ALLOWED = (  # points below the other
    ("QAT int8", "float", 0.2),
    ("QAT 4-bit", "float", 1.0),
    ("QAT int8", "tfmot QAT int8", 0.2),
    ("pruned QAT int8", "pruned", 0.3),
)
PTQ_LOSS, REGAINED = 0.5, 0.5  # of what PTQ loses beyond so many points, QAT must regain this share
RESNET_CHANNELS = (24, 48, 96)
MOBILENET_BLOCKS = ((32, 16, 2, 3), (72, 24, 2, 3), (96, 24, 1, 3), (144, 40, 1, 5))  # channels inside and behind, strides, kernel


def convolve(keras, x, channels, size, strides, name):
    """A convolution and its BatchNormalization."""
    x = keras.layers.Conv2D(channels, size, strides, padding="same", use_bias=False, name=name)(x)
    return keras.layers.BatchNormalization(name=f"{name}_norm")(x)


def make_resnet(keras):
    """A small ResNet of either Keras: three blocks, on 7 x 7, 4 x 4 and 2 x 2 positions."""
    layers = keras.layers
    image = keras.Input((28, 28, 1), name="image")
    x = layers.ReLU(name="stem_relu")(convolve(keras, image, RESNET_CHANNELS[0], 3, 2, "stem"))
    x = layers.MaxPooling2D(name="stem_pool")(x)
    for index, channels in enumerate(RESNET_CHANNELS):
        name, strides = f"block{index}", 2 if index else 1
        trunk = convolve(keras, x, channels, 1, strides, f"{name}_shortcut") if index else x
        x = layers.ReLU(name=f"{name}_relu1")(convolve(keras, x, channels, 3, strides, f"{name}_conv1"))
        x = convolve(keras, x, channels, 3, 1, f"{name}_conv2")
        x = layers.ReLU(name=f"{name}_relu2")(layers.Add(name=f"{name}_add")([x, trunk]))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(10, name="class")(x))


def make_mobilenet(keras):
    """A small MobileNetV3 of either Keras: hard-swish everywhere, and squeeze and excite in each block."""
    layers = keras.layers

    def activate(x, name, function="hard_silu"):
        return layers.Activation(function, name=f"{name}_{function}")(x)

    image = keras.Input((28, 28, 1), name="image")
    x = activate(convolve(keras, image, 16, 3, 2, "stem"), "stem")
    for index, (inside, channels, strides, size) in enumerate(MOBILENET_BLOCKS):
        name, trunk = f"block{index}", x
        x = activate(convolve(keras, x, inside, 1, 1, f"{name}_expand"), f"{name}_expand")
        x = layers.DepthwiseConv2D(size, strides, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
        x = activate(layers.BatchNormalization(name=f"{name}_depthwise_norm")(x), f"{name}_depthwise")
        gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
        gate = layers.Conv2D(inside // 4, 1, activation="relu", name=f"{name}_reduce")(gate)
        gate = activate(layers.Conv2D(inside, 1, name=f"{name}_gate")(gate), f"{name}_gate", "hard_sigmoid")
        x = layers.Multiply(name=f"{name}_excite")([x, gate])
        x = convolve(keras, x, channels, 1, 1, f"{name}_project")
        if strides == 1 and trunk.shape[-1] == channels:
            x = layers.Add(name=f"{name}_add")([x, trunk])
    x = activate(convolve(keras, x, 128, 1, 1, "head"), "head")
    x = activate(layers.Dense(96, name="hidden")(layers.GlobalAveragePooling2D(name="pool")(x)), "hidden")
    return keras.Model(image, layers.Dense(10, name="class")(x))


NETS = {"ResNet": make_resnet, "MobileNetV3": make_mobilenet}


def fit(used, model, x, y, rate, epochs, seed, callbacks=()):
    """Trains a model of the Keras `used`; the batches of a seed are the same for all."""
    import tensorflow as tf

    images, labels = tf.constant(x), tf.constant(y)
    order = tf.data.Dataset.range(len(x)).shuffle(len(x), seed=seed)  # a new order each epoch
    batches = order.batch(BATCH).map(lambda chosen: (tf.gather(images, chosen), tf.gather(labels, chosen))).prefetch(2)
    model.compile(
        used.optimizers.Adam(used.optimizers.schedules.CosineDecay(rate, epochs * -(-len(x) // BATCH))),
        used.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(batches, epochs=epochs, verbose=0, shuffle=False, callbacks=list(callbacks))  # shuffled above


def make_twin(model, net):
    """The same net with the same weights in tf_keras."""
    import numpy as np
    import tf_keras

    twin = NETS[net](tf_keras)
    for layer in model.layers:
        twin.get_layer(layer.name).set_weights(layer.get_weights())
    images = np.random.default_rng(0).random((8, 28, 28, 1), "float32")
    expected = model(images).numpy()
    np.testing.assert_allclose(twin(images), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    return twin


def keras3_activations():
    """Functions that tf_keras lacks, or knows as others, by name."""
    import tensorflow as tf

    def hard_sigmoid(x):
        return tf.nn.relu6(x + 3.0) / 6.0

    def hard_silu(x):
        return x * hard_sigmoid(x)

    return {"hard_sigmoid": hard_sigmoid, "hard_silu": hard_silu}


def run_one(run, arguments):
    """Trains and converts one configuration in this process and returns its result, a dict."""
    import keras

    import tfopt
    from tfopt.keras2 import door

    limit_threads(arguments.threads)
    net, what, seed = run["net"], run["what"], run["seed"]
    (x, y), test = load(arguments.data)
    x, y = x[: arguments.images], y[: arguments.images]
    keras.utils.set_random_seed(seed)
    paths = {
        kind: arguments.work / f"{net}{kind.removeprefix('float')}-{seed}-{arguments.images}x{arguments.epochs}.keras"
        for kind in ("float", "pruned")
    }
    start = time.perf_counter()
    if what in paths:
        if what == "float":
            model, rate, callbacks = NETS[net](keras), LEARNING_RATE, []
        else:
            model, rate = keras.models.load_model(paths["float"], compile=False), PRUNING_RATE
            callbacks = [tfopt.PruningCallback(tfopt.PolynomialDecay(SPARSITY, end=0.5), scope="global")]
        fit(keras, model, x, y, rate, arguments.epochs, seed, callbacks)
        seconds = time.perf_counter() - start
        model.save(paths[what], include_optimizer=False)
        accuracy = model.evaluate(*test, batch_size=TEST_BATCH, verbose=0)[1]
        return {"accuracy": accuracy, "parameters": int(model.count_params()), "seconds": round(seconds, 1)}
    model = keras.models.load_model(paths["pruned" if what.startswith("pruned") else "float"], compile=False)
    options = {}  # of convert: after QAT the ranges are those of training
    if what == "PTQ int8":
        options = {"representative_data": x, "samples": REPRESENTATIVE, "seed": seed}
    elif what == "tfmot QAT int8":
        import tf_keras

        with tf_keras.utils.custom_object_scope(keras3_activations()):
            try:
                model = door.tfmot().quantization.keras.quantize_model(make_twin(model, net))
            except RuntimeError as error:  # what it raises for a layer that it does not support
                return {"accuracy": None, "refused": str(error), "seconds": round(time.perf_counter() - start, 1)}
        fit(tf_keras, model, x, y, TUNING_RATES[what], arguments.tune, seed)
        options = {"representative_data": x}  # asked for with a tf_keras model; the ranges are tfmot's all the same
    else:
        model = tfopt.quantize_aware(model, weight_bits=4 if what == "QAT 4-bit" else 8)
        callbacks = [tfopt.PreserveSparsity()] if what.startswith("pruned") else []
        fit(keras, model, x, y, TUNING_RATES[what], arguments.tune, seed, callbacks)
    seconds = time.perf_counter() - start
    threads = arguments.threads or 1
    result = tfopt.convert(model, validation_data=test, batch_size=TEST_BATCH, threads=threads, runs=1, **options)
    check = result.check
    if check.structure.quantization != "int8" or check.structure.float_ops:
        sys.exit(f"the file is not int8: {'; '.join(check.reasons)}")
    zeros = {}
    if what.startswith("pruned"):
        zeros = count_zeros(tfopt.strip_quantization(model), result.tflite, arguments.work / f"{net}-{seed}-zeros.tflite")
    return {
        "accuracy": check.accuracy,
        "accuracy_in_keras": check.reference_accuracy,  # of the model that was converted
        "reasons": list(check.reasons),
        "bytes": len(result.tflite),
        **zeros,
        "seconds": round(seconds, 1),
    }


def count_zeros(model, content, path):
    """Weights and zeros of the kernels of a model, which are those of the int8 file, or the process ends."""
    import numpy as np

    import tfopt

    kernels = [layer.get_weights()[0] for layer in model.layers if layer.weights and "norm" not in layer.name]
    path.write_bytes(content)
    tensors = [each for each in tfopt.inspect(path)["tensors"] if "zeros" in each]
    path.unlink()
    sizes = {kernel.size for kernel in kernels}
    found = sorted((math.prod(each["shape"]), each["zeros"]) for each in tensors if math.prod(each["shape"]) in sizes)
    expected = sorted((kernel.size, int(np.sum(kernel == 0))) for kernel in kernels)
    if found != expected:
        sys.exit(f"the file has the zeros {found}, the model {expected}")
    return {"weights": sum(size for size, _ in expected), "zeros": sum(zeros for _, zeros in expected)}


def differences(accuracies, net, what, other):
    """Points of `what` above `other`, by seed, where both are there."""
    seeds = sorted(seed for *key, seed in accuracies if key == [net, what] and (net, other, seed) in accuracies)
    # An image of 10,000 is 0.01: what is beyond comes of float32, and 0.2 would not be 0.2. Adding 0 makes 0 of -0.
    return {seed: round(accuracies[net, what, seed] - accuracies[net, other, seed], 4) + 0.0 for seed in seeds}


def print_table(results):
    """Prints mean, minimum and maximum of each configuration, its difference to float, and whether that is enough."""
    accuracies = {
        (result["net"], result["what"], result["seed"]): 100 * result["accuracy"]
        for result in results
        if result["accuracy"] is not None
    }
    print("| net | what | seeds | accuracy, mean | min..max | to float, mean | min..max |")
    print("|" + " --- |" * 7)
    for net in NETS:
        for what in WHATS:
            own = [value for (*key, _), value in accuracies.items() if key == [net, what]]
            refused = [result["refused"] for result in results if (result["net"], result["what"]) == (net, what) and not own]
            if own:
                cells = [len(own), f"{statistics.mean(own):.2f} %", f"{min(own):.2f}..{max(own):.2f}"]
            elif refused:
                cells = [len(refused), f"refused: {shorten(refused[0])}"]
            else:
                continue
            points = differences(accuracies, net, what, "float").values()
            if points and what != "float":
                cells += [f"{statistics.mean(points):+.2f}", f"{min(points):+.2f}..{max(points):+.2f}"]
            print(f"| {' | '.join(map(str, [net, what, *cells, '', '', ''][:7]))} |")
    for net in NETS:
        print_verdicts(accuracies, net)


def print_verdicts(accuracies, net):
    """Prints a line for each criterion that the results of `net` can answer."""

    def verdict(text, is_met):
        print(f"{net}: {text}: {'ok' if is_met else 'MISSED'}")

    for what, other, allowed in ALLOWED:
        points = differences(accuracies, net, what, other).values()
        if points:
            mean, worst = statistics.mean(points), min(points)
            text = f"{what} is {mean:+.2f} points to {other} in the mean, {worst:+.2f} at worst, at least {-allowed} asked for"
            verdict(text, mean >= -allowed)
    of_ptq, of_qat = (differences(accuracies, net, what, "float") for what in ("PTQ int8", "QAT int8"))
    if net == "MobileNetV3" and of_ptq and of_qat:
        large = [seed for seed in of_ptq if of_ptq[seed] < -PTQ_LOSS]
        for seed in (seed for seed in large if seed in of_qat):
            share = 1 - of_qat[seed] / of_ptq[seed]
            text = f"QAT regains {100 * share:.0f} % of the {-of_ptq[seed]:.2f} points that PTQ loses with seed {seed}"
            verdict(f"{text}, at least {100 * REGAINED:.0f} % asked for", share >= REGAINED)
        if not large:
            verdict(f"PTQ loses no more than {PTQ_LOSS} points with any seed, so nothing is to be regained", True)


def shorten(words):
    """The first sentence of an error, with the names of classes instead of their paths."""
    return re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", words.partition(". ")[0])


def main():
    """Trains what is missing and prints the table."""
    parser = make_parser(__doc__, "accuracy_qat", EPOCHS)
    parser.add_argument("--images", type=int, default=IMAGES, help="of training")
    parser.add_argument("--tune", type=int, default=TUNING_EPOCHS, help="epochs of QAT")
    arguments = parser.parse_args()
    arguments.data = arguments.data or find_data()
    if arguments.one:
        print(json.dumps(run_one(arguments.one, arguments)))
        return
    common = {"images": arguments.images, "epochs": arguments.epochs}
    stages = [
        [
            {"net": net, "what": what, "seed": seed, **common, "tune": arguments.tune if what in TUNING_RATES else 0}
            for seed in range(arguments.seeds)
            for net in NETS
            for what in stage
        ]
        for stage in STAGES  # each begins with the models of the one before
    ]
    print_table(complete(arguments, stages))


if __name__ == "__main__":
    main()
