"""What a step of quantization-aware training costs: Keras 3 with tfopt and tf_keras with tfmot, each against its plain step.

    python tools/bench_qat.py [--rounds 10] [--steps 50] [--ranges moving_average] [--threads N]

The ResNet of `accuracy_pruning.py` (309,418 parameters, images of 28 x 28, batches of 64) trains through `fit` in four ways, in
turn: Keras 3, Keras 3 with `quantize_aware`, tf_keras, and tf_keras with `quantize_model` of tfmot. Both of these round the same
kernels and the same tensors between layers. A step is timed from the end of one batch to the end of the next. Each round is a run
of its own, from the same weights. The first step, which traces, and a first round are not counted.

Printed for each side: median, minimum and mean of all steps. Then the ratios quantization-aware / plain.
"""

import argparse
import os
import statistics
import sys

from accuracy_pruning import make_model
from bench_pruning import BATCH, Side, make_data, print_verdict, ratios

LIMIT = 1.25


def make_sides(ranges):
    """The four sides, by name."""
    import keras
    import tf_keras

    import tfopt
    from tfopt.keras2 import door

    tfmot = door.tfmot()
    keras.utils.set_random_seed(0)
    start = make_model(keras)

    def build(module):
        model = make_model(module)
        for layer in start.layers:
            model.get_layer(layer.name).set_weights(layer.get_weights())
        return model

    models = {
        "Keras 3": (keras, build(keras)),
        "Keras 3, tfopt": (keras, tfopt.quantize_aware(build(keras), ranges=ranges)),
        "tf_keras": (tf_keras, build(tf_keras)),
        "tf_keras, tfmot": (tf_keras, tfmot.quantization.keras.quantize_model(build(tf_keras))),
    }
    return {name: Side(module, model, list, set()) for name, (module, model) in models.items()}


def rounded(name, model):
    """(kernels, tensors between layers) that a trained model rounds."""
    import tfopt

    if "tfmot" in name:  # it keeps a maximum of each
        ends = [variable.name for variable in model.variables if variable.name.endswith("max:0")]
        kernels = sum(end.endswith("kernel_max:0") for end in ends)
        return kernels, len(ends) - kernels
    report = tfopt.quantization_report(model)
    if report.unseen:
        sys.exit(f"{name}: no range is known of {', '.join(report.unseen)}")
    return sum(row.bits is not None for row in report.weights), sum(variable.name == "maximum" for variable in model.variables)


def print_tables(sides):
    """Prints the times in ms, then the ratios quantization-aware / plain."""
    print(f"{'ms of a step':18}{'median':>10}{'minimum':>10}{'mean':>10}")
    for name, side in sides.items():
        times = side.times()
        print(f"{name:18}{statistics.median(times):>10.2f}{min(times):>10.2f}{statistics.mean(times):>10.2f}")
    print()
    print(f"{'aware / plain':18}{'median':>10}{'of rounds':>16}{'minimum':>10}{'mean':>10}")
    medians = {}
    for name, side in sides.items():
        if "," not in name:
            continue
        plain = sides[name.partition(",")[0]]
        medians[name], spread, least, mean = ratios(side, plain)
        print(f"{name:18}{medians[name]:>10.3f}{spread:>16}{least:>10.3f}{mean:>10.3f}")
    print_verdict(medians, LIMIT)


def main():
    """Runs the benchmark and prints its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=50, help="of a round")
    parser.add_argument("--ranges", default="moving_average", help="of quantize_aware; tfmot knows the moving average only")
    parser.add_argument("--threads", type=int, help="of TensorFlow, in one op; default: its own")
    arguments = parser.parse_args()
    if arguments.steps < 2 or arguments.rounds < 1:
        parser.error("there must be at least one round, of at least two steps")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    x, y = make_data(arguments.steps, arguments.threads)
    sides = make_sides(arguments.ranges)
    size = sides["Keras 3"].model.count_params()
    print(f"{size:,} parameters, batches of {BATCH}, {arguments.rounds} rounds of {arguments.steps} steps")
    for number in range(arguments.rounds + 1):
        for name, side in sides.items():
            side.run(x, y)
            print(f"round {number}, {name}: {statistics.median(side.rounds[-1]):.2f} ms", file=sys.stderr, flush=True)
            if number == 0:
                side.rounds.clear()  # warm-up
    found = {name.partition(", ")[2]: rounded(name, side.model) for name, side in sides.items() if "," in name}
    print("rounded:", "; ".join(f"{kernels} kernels and {tensors} tensors by {name}" for name, (kernels, tensors) in found.items()))
    print()
    print_tables(sides)


if __name__ == "__main__":
    main()
