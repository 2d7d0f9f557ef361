"""What a step of distillation costs: tfopt without and with a cache, and `keras.distillation`, against the student's own step.

    python tools/bench_distillation.py [--rounds 120] [--steps 12] [--threads N]

The teacher is the ResNet of `accuracy_pruning.py` (309,418 parameters, images of 28 x 28, batches of 64), the student that of
`accuracy_distillation.py`. It trains through `fit` in four ways, in turn, from the same weights: alone, with `tfopt.Distiller`,
with its cache in memory, and with `keras.distillation.Distiller`; each distils logits at one temperature. A step is timed from the
end of one batch to the end of the next. Rounds are short and many, as a machine has fast and slow seconds, and each begins with
another side. The first step of a round and a first round are not counted; in that the cache is filled.

Printed: median, minimum and mean of all steps of each side. Then the ratios to the student alone and to `keras.distillation`: of
the medians within a round, in the median of the rounds, with the standard error of that and the quartiles; of the medians, minima
and means of all steps.
"""

import argparse
import os
import statistics
import sys

from accuracy_distillation import make_student
from accuracy_pruning import make_model
from bench_pruning import BATCH, Side, make_data

ALONE, OURS, CACHED, THEIRS = "student alone", "tfopt", "tfopt, cache", "keras.distillation"
TEMPERATURE = 4.0
LIMITS = ((CACHED, ALONE, 1.15), (OURS, THEIRS, 1.0), (CACHED, THEIRS, None))


def make_sides():
    """The four sides, by name."""
    import keras

    import tfopt

    keras.utils.set_random_seed(0)
    teacher, start = make_model(keras), make_student(keras)
    students = {}
    for name in (ALONE, OURS, CACHED, THEIRS):
        students[name] = make_student(keras)
        students[name].set_weights(start.get_weights())
    losses = {"distillation_losses": tfopt.LogitsDistillation(TEMPERATURE)}
    models = {
        ALONE: students[ALONE],
        OURS: tfopt.Distiller(student=students[OURS], teacher=teacher, **losses),
        CACHED: tfopt.Distiller(student=students[CACHED], teacher=teacher, cache="memory", **losses),
        THEIRS: keras.distillation.Distiller(
            teacher, students[THEIRS], keras.distillation.LogitsDistillation(temperature=TEMPERATURE)
        ),
    }
    return {name: Side(keras, model, list, set()) for name, model in models.items()}


def print_tables(sides):
    """Prints the times in ms, then the ratios and whether they are within their limits."""
    print(f"\n{'ms of a step':22}{'median':>10}{'minimum':>10}{'mean':>10}")
    for name, side in sides.items():
        times = side.times()
        print(f"{name:22}{statistics.median(times):>10.2f}{min(times):>10.2f}{statistics.mean(times):>10.2f}")
    print(f"\n{'ratio':36}{'of rounds':>10}{'error':>8}{'quartiles':>16}{'median':>10}{'minimum':>10}{'mean':>10}")
    verdicts = []
    for name, other, limit in LIMITS:
        pairs = zip(sides[name].rounds, sides[other].rounds, strict=True)
        of_rounds = [statistics.median(own) / statistics.median(its) for own, its in pairs]
        low, ratio, high = statistics.quantiles(of_rounds, n=4)
        error = 1.253 * (high - low) / 1.349 / len(of_rounds) ** 0.5  # of a median, the spread taken from the quartiles
        figures = [
            figure(sides[name].times()) / figure(sides[other].times()) for figure in (statistics.median, min, statistics.mean)
        ]
        cells = f"{ratio:>10.3f}{error:>8.3f}{f'{low:.3f}..{high:.3f}':>16}" + "".join(f"{each:>10.3f}" for each in figures)
        print(f"{name + ' / ' + other:36}{cells}")
        if limit:
            verdicts.append(f"{name} / {other}: {ratio:.3f}, at most {limit} allowed: {'ok' if ratio <= limit else 'MISSED'}")
    print("", *verdicts, sep="\n")


def main():
    """Runs the benchmark and prints its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=120)
    parser.add_argument("--steps", type=int, default=12, help="of a round, at least 3")
    parser.add_argument("--threads", type=int, help="of TensorFlow, in one op; default: its own")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    x, y = make_data(arguments.steps, arguments.threads)
    sides = make_sides()
    print(f"{arguments.rounds} rounds of {arguments.steps} steps, batches of {BATCH}")
    names = list(sides)
    for number in range(arguments.rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            sides[name].run(x, y)
            print(f"round {number}, {name}: {statistics.median(sides[name].rounds[-1]):.2f} ms", file=sys.stderr, flush=True)
            if number == 0:
                sides[name].rounds.clear()  # warm-up
    print_tables(sides)


if __name__ == "__main__":
    main()
