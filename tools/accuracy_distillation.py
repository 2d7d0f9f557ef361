"""What a small student gains from a teacher on Fashion-MNIST: logits, and features and logits, against training alone.

    python tools/accuracy_distillation.py [--work FOLDER] [--data FOLDER] [--epochs 10] [--seeds 3] [--threads N] [--jobs N]

The data are those of Debian's package `dataset-fashion-mnist` (`--data`: a folder with the four idx files in gzip). For each seed
the ResNet of `accuracy_pruning.py` (309,418 parameters) trains on the first 20,000 training images, without augmentation, with Adam
and a cosine decay. A student with less than a tenth of its parameters then trains from one initialization on the same images in the
same order, for as many epochs: alone, with the teacher's logits, and with the outputs of its last block as well. Accuracies are
those on the 10,000 test images after the last epoch; no epoch is chosen.

The work goes on where it stopped: FOLDER/results.jsonl has a line for each run, and a run that is there is not repeated; the
teachers are beside it. The table is printed at the end: mean, minimum and maximum over the seeds, and the gain over the student
alone of the same seed, in points. `--table` prints what is there and trains nothing.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

from accuracy_pruning import BATCH, IMAGES, LEARNING_RATE, PACKAGE, find_data, load, make_model

TEACHER, ALONE, LOGITS, BOTH = "teacher", "student alone", "logits", "features and logits"
WHATS = (TEACHER, ALONE, LOGITS, BOTH)
CHANNELS = (12, 24, 36)
TEMPERATURE, STUDENT_LOSS_WEIGHT, FEATURE_WEIGHT = 4.0, 0.1, 0.5


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


def run_one(what, seed, arguments):
    """Trains one configuration in this process and returns its result, a dict."""
    import keras
    import tensorflow as tf

    import tfopt

    if arguments.threads:
        tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    (x, y), test = load(arguments.data)
    x, y = x[: arguments.images], y[: arguments.images]
    path = arguments.work / f"teacher-{seed}-{arguments.images}x{arguments.epochs}.keras"
    start = time.perf_counter()
    keras.utils.set_random_seed(seed)
    if what == TEACHER:
        model = trained = make_model(keras)
    else:
        model = trained = make_student(keras)
    if what in (LOGITS, BOTH):
        losses, weights = [tfopt.LogitsDistillation(TEMPERATURE)], [1.0]
        if what == BOTH:
            losses.append(tfopt.FeatureDistillation("block2b_relu", "block128_relu2"))
            weights.append(FEATURE_WEIGHT)
        trained = tfopt.Distiller(
            model,
            keras.saving.load_model(path, compile=False),
            distillation_losses=losses,
            distillation_loss_weights=weights,
            student_loss_weight=STUDENT_LOSS_WEIGHT,
            cache="memory",
        )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, arguments.epochs * -(-len(x) // BATCH))
    trained.compile(keras.optimizers.Adam(schedule), loss, metrics=["accuracy"])
    keras.utils.set_random_seed(seed)  # the same order of samples for all
    trained.fit(x, y, batch_size=BATCH, epochs=arguments.epochs, verbose=0)
    seconds = time.perf_counter() - start
    if what == TEACHER:
        model.save(path, include_optimizer=False)
    accuracy = trained.evaluate(*test, batch_size=500, verbose=0, return_dict=True)["accuracy"]
    return {"accuracy": accuracy, "parameters": model.count_params(), "seconds": round(seconds, 1)}


def gains(accuracies, what, other):
    """Points of `what` above `other`, of each seed that has both."""
    return [accuracies[what][seed] - accuracies[other][seed] for seed in accuracies[what] if seed in accuracies[other]]


def print_table(results):
    """Prints mean, minimum and maximum of each configuration, its gain, and whether that is what was hoped for."""
    accuracies = {what: {each["seed"]: 100 * each["accuracy"] for each in results if each["what"] == what} for what in WHATS}
    print("| what | parameters | seeds | accuracy, mean | min..max | gain, mean | min..max |")
    print("|" + " --- |" * 7)
    for what in WHATS:
        own = accuracies[what].values()
        if not own:
            continue
        parameters = next(each["parameters"] for each in results if each["what"] == what)
        cells = [what, f"{parameters:,}", len(own), f"{statistics.mean(own):.2f} %", f"{min(own):.2f}..{max(own):.2f}", "", ""]
        points = gains(accuracies, what, ALONE) if what in (LOGITS, BOTH) else []
        if points:
            cells[5:] = [f"{statistics.mean(points):+.2f}", f"{min(points):+.2f}..{max(points):+.2f}"]
        print(f"| {' | '.join(map(str, cells))} |")
    points, between = gains(accuracies, LOGITS, ALONE), gains(accuracies, BOTH, LOGITS)
    if points:
        mean = statistics.mean(points)
        print(f"logits gain {mean:+.2f} points over the student alone in the mean: {'ok' if mean > 0 else 'MISSED'}")
    if between:
        mean, spread = statistics.mean(between), max(points) - min(points)
        words = f"features and logits are {mean:+.2f} points above logits, and the gain spreads over {spread:.2f}"
        print(f"{words}: {'ok' if mean >= -spread else 'MISSED'}")


def main():
    """Trains what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("accuracy_distillation"))
    parser.add_argument("--data", type=pathlib.Path, help=f"default: where Debian's {PACKAGE} put them")
    parser.add_argument("--images", type=int, default=IMAGES, help="of training")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of TensorFlow, in one op; default: its own")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--table", action="store_true", help="print the table of the runs that are there")
    parser.add_argument("--one", nargs=2, metavar=("WHAT", "SEED"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.data = arguments.data or find_data()
    if arguments.one:
        print(json.dumps(run_one(arguments.one[0], int(arguments.one[1]), arguments)))
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    path = arguments.work / "results.jsonl"
    common = {"images": arguments.images, "epochs": arguments.epochs}
    wanted = [{"what": what, "seed": seed, **common} for what in WHATS for seed in range(arguments.seeds)]
    there = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    results = [each for each in there if {name: each[name] for name in wanted[0]} in wanted]
    known = [{name: each[name] for name in wanted[0]} for each in results]
    missing = [] if arguments.table else [run for run in wanted if run not in known]
    for is_teacher in (True, False):  # the teachers come first
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            runs = [run for run in missing if (run["what"] == TEACHER) == is_teacher]
            for future in concurrent.futures.as_completed(pool.submit(run_child, run, arguments) for run in runs):
                result = future.result()
                with path.open("a") as file:
                    file.write(json.dumps(result) + "\n")
                results.append(result)
                words = f"{result['what']}, seed {result['seed']}: accuracy {100 * result['accuracy']:.2f} %"
                print(f"{words}, {result['seconds']:.0f} s", file=sys.stderr, flush=True)
    print_table(results)


def run_child(run, arguments):
    """The result of one configuration, made in a process of its own."""
    command = [sys.executable, __file__, "--work", arguments.work, "--data", arguments.data, "--images", arguments.images]
    command += ["--epochs", arguments.epochs, "--one", run["what"], run["seed"]]
    command += ["--threads", arguments.threads] if arguments.threads else []
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    finished = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment)
    if finished.returncode:
        raise SystemExit(f"{run['what']}, seed {run['seed']} failed:\n{finished.stderr[-3000:]}")
    return run | json.loads(finished.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
