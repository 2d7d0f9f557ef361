"""What an epoch of distillation costs: tfopt without and with a cache, and `keras.distillation`, against the student's own epoch.

    python tools/bench_distillation.py [--rounds 8] [--steps 60] [--threads N]

The teacher is the ResNet of `accuracy_pruning.py` (309,418 parameters, images of 28 x 28, batches of 64), the student that of
`accuracy_distillation.py`. It trains through `fit` in four ways, in turn, from the same weights: alone, with `tfopt.Distiller`,
with its cache in memory, and with `keras.distillation.Distiller`; each distils logits at one temperature. A round is two epochs, of
which the second is timed. A first round is not counted; in it the cache is filled.

Printed: median, minimum and mean of the epochs of each side, and the ratios to the student alone and to `keras.distillation`.
"""

import argparse
import os
import statistics
import sys
import time

from accuracy_distillation import make_student
from accuracy_pruning import BATCH, make_model
from bench_pruning import make_data

ALONE, OURS, CACHED, THEIRS = "student alone", "tfopt", "tfopt, cache", "keras.distillation"
TEMPERATURE = 4.0
LIMITS = ((CACHED, ALONE, 1.15), (OURS, THEIRS, 1.0))


def make_sides():
    """A compiled model of each side, by name."""
    import keras

    import tfopt

    keras.utils.set_random_seed(0)
    teacher, start = make_model(keras), make_student(keras)
    students = {}
    for name in (ALONE, OURS, CACHED, THEIRS):
        students[name] = make_student(keras)
        students[name].set_weights(start.get_weights())
    losses = {"distillation_losses": tfopt.LogitsDistillation(TEMPERATURE)}
    sides = {
        ALONE: students[ALONE],
        OURS: tfopt.Distiller(students[OURS], teacher, **losses),
        CACHED: tfopt.Distiller(students[CACHED], teacher, cache="memory", **losses),
        THEIRS: keras.distillation.Distiller(
            teacher, students[THEIRS], keras.distillation.LogitsDistillation(temperature=TEMPERATURE)
        ),
    }
    for model in sides.values():
        model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return sides


def time_epoch(model, x, y):
    """Seconds of the second of two epochs."""
    import keras

    moments = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: moments.append(time.perf_counter()),
        on_epoch_end=lambda epoch, logs: moments.append(time.perf_counter()),
    )
    model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0, callbacks=[watch])
    return moments[3] - moments[2]


def main():
    """Runs the benchmark and prints its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=60, help="of an epoch")
    parser.add_argument("--threads", type=int, help="of TensorFlow, in one op; default: its own")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    x, y = make_data(arguments.steps, arguments.threads)
    sides = make_sides()
    print(f"{arguments.rounds} rounds of {arguments.steps} steps, batches of {BATCH}")
    times = {name: [] for name in sides}
    for number in range(arguments.rounds + 1):
        for name, model in sides.items():
            seconds = time_epoch(model, x, y)
            print(f"round {number}, {name}: {seconds:.3f} s", file=sys.stderr, flush=True)
            if number:
                times[name].append(seconds)
    print(f"\n{'seconds of an epoch':22}{'median':>10}{'minimum':>10}{'mean':>10}{'to student':>14}{'to keras':>12}")
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        shares = f"{medians[name] / medians[ALONE]:>13.3f}x{medians[name] / medians[THEIRS]:>11.3f}x"
        print(f"{name:22}{medians[name]:>10.3f}{min(values):>10.3f}{statistics.mean(values):>10.3f}{shares}")
    print()
    for name, other, limit in LIMITS:
        ratio = medians[name] / medians[other]
        print(f"{name} / {other}: {ratio:.3f}, at most {limit} allowed: {'ok' if ratio <= limit else 'MISSED'}")


if __name__ == "__main__":
    main()
