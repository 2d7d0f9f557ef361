"""What a small student gains from a teacher on Fashion-MNIST, and what pruning, QAT and distillation in one fit cost it.

    python tools/accuracy_distillation.py [--work FOLDER] [--data FOLDER] [--epochs 10] [--seeds 3] [--threads N] [--jobs N]

The data are those of Debian's package `dataset-fashion-mnist` (`--data`: a folder with the four idx files in gzip). For each seed
the ResNet of `accuracy_pruning.py` (309,418 parameters) trains on the first 20,000 training images, without augmentation, with Adam
and a cosine decay. A student with less than a tenth of its parameters then trains from one initialization on the same images in the
same order, for as many epochs: alone, with the teacher's logits, and with the outputs of its last block as well.

The other rows begin with the student that was trained alone, train for as many epochs again at half the rate, and become int8
files: "all" in one `fit` prunes to 80 % zeros over all kernels but that of the output layer, rounds as the file will (QAT), and
distils the logits. Then each of the three is left out; without QAT the ranges come from 200 training images. A run fails if its
file is not int8 throughout, or after QAT does not have the zeros of the model, to the weight. Accuracies are those on the 10,000
test images, of the file where there is one, after the last epoch; no epoch is chosen.

The work goes on where it stopped: FOLDER/results.jsonl has a line for each run, and a run that is there is not repeated; models
that others begin with are beside it. The table is printed at the end: mean, minimum and maximum over the seeds, and the gain over
the student alone of the same seed, in points. `--table` prints what is there and trains nothing.
"""

import json
import statistics
import sys
import time

from accuracy_pruning import BATCH, IMAGES, LEARNING_RATE, find_data, load, make_model
from accuracy_qat import count_zeros
from resumable_runs import complete, limit_threads, make_parser

TEACHER, ALONE, LOGITS, BOTH = "teacher", "student alone", "logits", "features and logits"
ALL, STEPS = "all: pruned 80 %, QAT, logits, int8", ("pruning", "QAT", "distillation")
ONE_FIT = {ALL: set(STEPS), **{f"all without {step}": set(STEPS) - {step} for step in STEPS}}
WHATS = (TEACHER, ALONE, LOGITS, BOTH, *ONE_FIT)
CHANNELS = (12, 24, 36)
TEMPERATURE, STUDENT_LOSS_WEIGHT, FEATURE_WEIGHT = 4.0, 0.1, 0.5
SPARSITY, TUNING_RATE, REPRESENTATIVE = 0.8, LEARNING_RATE / 2, 200
MOST_ERROR_LSB, LEAST_AGREEMENT = 2, 0.995  # of the file, to the QAT student


def make_student(keras):
    """A small convolutional net of 29,566 parameters."""
    layers = keras.layers
    image = keras.Input((28, 28, 1), name="image")
    x = image
    for index, channels in enumerate(CHANNELS):
        for part, strides in (("a", 2), ("b", 1)):
            name = f"block{index}{part}"
            x = layers.Conv2D(channels, 3, strides, padding="same", use_bias=False, name=name)(x)
            x = layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_norm")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(10, name="class")(x))


def fit(model, x, y, rate, arguments, seed, callbacks=()):
    """Trains a model or a distiller; the batches of a seed are the same for all."""
    import keras

    schedule = keras.optimizers.schedules.CosineDecay(rate, arguments.epochs * -(-len(x) // BATCH))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule), loss, metrics=["accuracy"])
    keras.utils.set_random_seed(seed)
    model.fit(x, y, batch_size=BATCH, epochs=arguments.epochs, verbose=0, callbacks=list(callbacks))


def run_one(run, arguments):
    """Trains one configuration in this process and returns its result, a dict."""
    import keras

    import tfopt

    limit_threads(arguments.threads)
    what, seed = run["what"], run["seed"]
    (x, y), test = load(arguments.data)
    x, y = x[: arguments.images], y[: arguments.images]
    paths = {
        name: arguments.work / f"{name.partition(' ')[0]}-{seed}-{arguments.images}x{arguments.epochs}.keras"
        for name in (TEACHER, ALONE)
    }
    start = time.perf_counter()
    keras.utils.set_random_seed(seed)
    if what in ONE_FIT:
        student = keras.saving.load_model(paths[ALONE], compile=False)
        if "QAT" in ONE_FIT[what]:
            student = tfopt.quantize_aware(student)
    else:
        student = make_model(keras) if what == TEACHER else make_student(keras)
    trained = student
    if what in (LOGITS, BOTH) or "distillation" in ONE_FIT.get(what, ()):
        losses, weights = [tfopt.LogitsDistillation(TEMPERATURE)], [1.0]
        if what == BOTH:
            losses.append(tfopt.FeatureDistillation("block2b_relu", "block128_relu2"))
            weights.append(FEATURE_WEIGHT)
        trained = tfopt.Distiller(
            student=student,
            teacher=keras.saving.load_model(paths[TEACHER], compile=False),
            distillation_losses=losses,
            distillation_loss_weights=weights,
            student_loss_weight=STUDENT_LOSS_WEIGHT,
            cache="memory",
        )
    callbacks = []
    if "pruning" in ONE_FIT.get(what, ()):
        callbacks = [tfopt.PruningCallback(tfopt.PolynomialDecay(SPARSITY, end=0.5), scope="global")]
    fit(trained, x, y, TUNING_RATE if what in ONE_FIT else LEARNING_RATE, arguments, seed, callbacks)
    if what in ONE_FIT:
        result = convert_one(student, ONE_FIT[what], x, test, arguments, seed)
    else:
        result = {"accuracy": trained.evaluate(*test, batch_size=500, verbose=0, return_dict=True)["accuracy"]}
        if what in paths:
            student.save(paths[what], include_optimizer=False)
    # What rounds has variables of its own, which are no parameters of the file.
    parameters = (tfopt.strip_quantization(student) if "QAT" in ONE_FIT.get(what, ()) else student).count_params()
    return {**result, "parameters": int(parameters), "seconds": round(time.perf_counter() - start, 1)}


def convert_one(student, steps, x, test, arguments, seed):
    """What the int8 file of a student computes and holds, a dict."""
    import tfopt

    options = {} if "QAT" in steps else {"representative_data": x, "samples": REPRESENTATIVE, "seed": seed}
    result = tfopt.convert(student, validation_data=test, batch_size=500, threads=arguments.threads or 1, runs=1, **options)
    check = result.check
    if check.structure.quantization != "int8" or check.structure.float_ops:
        sys.exit(f"the file is not int8: {'; '.join(check.reasons)}")
    made = {"accuracy": check.accuracy, "bytes": len(result.tflite)}
    if "QAT" in steps:
        numbers = check.outputs[0]
        made |= {"most_error_lsb": numbers.most_error_lsb, "agreement": numbers.agreement}
    if "pruning" in steps:
        kernels = [weight for weight in tfopt.sparsity_report(student).weights if "class" not in weight.name]
        made["sparsity"] = sum(weight.zeros for weight in kernels) / sum(weight.parameters for weight in kernels)
    if {"pruning", "QAT"} <= steps:  # in the file there are more: what is below half a step of its scale is rounded to zero
        student = tfopt.strip_quantization(student)
        made |= count_zeros(student, result.tflite, arguments.work / f"{'-'.join(sorted(steps))}-{seed}.tflite")
    return made


def gains(accuracies, what, other):
    """Points of `what` above `other`, of each seed that has both."""
    return [accuracies[what][seed] - accuracies[other][seed] for seed in accuracies[what] if seed in accuracies[other]]


def print_table(results):
    """Prints mean, minimum and maximum of each configuration, its gain, and whether that is what was hoped for."""
    accuracies = {what: {each["seed"]: 100 * each["accuracy"] for each in results if each["what"] == what} for what in WHATS}
    print("| what | parameters | zeros | seeds | accuracy, mean | min..max | gain, mean | min..max |")
    print("|" + " --- |" * 8)
    for what in WHATS:
        own, runs = accuracies[what].values(), [each for each in results if each["what"] == what]
        if not own:
            continue
        zeros = [100 * each["sparsity"] for each in runs if "sparsity" in each]
        cells = [what, f"{runs[0]['parameters']:,}", f"{statistics.mean(zeros):.2f} %" if zeros else "", len(own)]
        cells += [f"{statistics.mean(own):.2f} %", f"{min(own):.2f}..{max(own):.2f}", "", ""]
        points = gains(accuracies, what, ALONE) if what not in (TEACHER, ALONE) else []
        if points:
            cells[6:] = [f"{statistics.mean(points):+.2f}", f"{min(points):+.2f}..{max(points):+.2f}"]
        print(f"| {' | '.join(map(str, cells))} |")
    points, between = gains(accuracies, LOGITS, ALONE), gains(accuracies, BOTH, LOGITS)
    if points:
        mean = statistics.mean(points)
        print(f"logits gain {mean:+.2f} points over the student alone in the mean: {'ok' if mean > 0 else 'MISSED'}")
    if between:
        mean, spread = statistics.mean(between), max(points) - min(points)
        words = f"features and logits are {mean:+.2f} points above logits, and the gain spreads over {spread:.2f}"
        print(f"{words}: {'ok' if mean >= -spread else 'MISSED'}")
    of_files = [each for each in results if "agreement" in each]
    if of_files:
        most, least = max(each["most_error_lsb"] for each in of_files), min(each["agreement"] for each in of_files)
        is_met = most <= MOST_ERROR_LSB and least >= LEAST_AGREEMENT
        words = f"{len(of_files)} files are at worst {most:g} LSB from the QAT student, and agree with it on {100 * least:.2f} %"
        print(f"{words}: {'ok' if is_met else 'MISSED'}")


def main():
    """Trains what is missing and prints the table."""
    parser = make_parser(__doc__, "accuracy_distillation", epochs=10)
    parser.add_argument("--images", type=int, default=IMAGES, help="of training")
    arguments = parser.parse_args()
    arguments.data = arguments.data or find_data()
    if arguments.one:
        print(json.dumps(run_one(arguments.one, arguments)))
        return
    common = {"images": arguments.images, "epochs": arguments.epochs}
    stages = [
        [{"what": what, "seed": seed, **common} for seed in range(arguments.seeds) for what in stage]
        for stage in ((TEACHER, ALONE), (LOGITS, BOTH, *ONE_FIT))
    ]
    print_table(complete(arguments, stages))


if __name__ == "__main__":
    main()
