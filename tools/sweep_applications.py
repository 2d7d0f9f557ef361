"""Converts every `keras.applications` model to int8 through `tfopt.convert` and prints what came out, beside the plain recipe.

The weights are random (`weights=None`) and seeded, scaled so that no activation dies on the way; the head rules out all but ten
classes, as an int8 softmax over a thousand classes that are all alike is zero. Calibration: 10 images.

    python tools/sweep_applications.py [--work FOLDER] [--all] [--plain] [--time] [MODEL ...]

The work goes on where it stopped: results and files lie in FOLDER. `--plain` makes the files of the plain recipe as well
(`TFLiteConverter.from_keras_model` with representative data). `--time` measures the files that are there, all of a model in turn,
and must have the machine to itself. `--all` takes in models of more than 120 million parameters. The table is printed at the end:

seconds of `tfopt.convert` (int8, float32, check and benchmark), float ops left, delegate partitions, SQNR on the calibration
images, latency of float32 divided by that of int8 at 1 thread (above 1: int8 is faster), and the same of the plain recipe.
"""

import argparse
import functools
import json
import pathlib
import statistics
import subprocess
import sys
import time

LARGE = {"ConvNeXtLarge": 198, "ConvNeXtXLarge": 350, "VGG16": 138, "VGG19": 144}  # millions of parameters
DAMPED = {"EfficientNetV2": "project", "ResNet152": "_3_conv"}  # deep residual models -> last convolutions of their branches
IN_PIXELS = ("ConvNeXt", "EfficientNet", "MobileNetV3")  # scale their inputs themselves


def names():
    """All models of keras.applications."""
    import keras

    return sorted(name for name, made in vars(keras.applications).items() if name[0].isupper() and callable(made))


def make_images(count, size, seed):
    """Smooth random pictures in [0, 1] that differ in colour and contrast, float32 (count, size, size, 3)."""
    import numpy as np

    generator = np.random.default_rng(seed)
    coarse = generator.random((count, 7, 7, 3)) * generator.uniform(0.2, 1.0, (count, 1, 1, 3))
    repeats = -(-size // 7)
    return np.repeat(np.repeat(coarse, repeats, axis=1), repeats, axis=2)[:, :size, :size].astype("float32")


def make_model(name, **options):
    """(model, 10 calibration images), the model with sane random weights; `options` go to keras.applications."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    builder = getattr(keras.applications, name)
    if name.startswith("MobileNetV3"):  # whose default leaves the size open
        options = {"input_shape": (224, 224, 3), **options}
    model = builder(weights=None, **options)
    images = make_images(10, model.input_shape[1], seed=1) * (255 if name.startswith(IN_PIXELS) else 1)
    for layer in model.layers:
        for weight in layer.weights:
            kind = weight.path.rpartition("/")[2]
            if "kernel" in kind:
                # Keras counts all channels as inputs of a depthwise kernel, which then fades out layer by layer.
                depthwise = "depthwise" in kind or "Depthwise" in type(layer).__name__
                fan_in = np.prod(weight.shape[: 2 if depthwise else -1])
                # The last convolution of a residual branch adds to the trunk, which would grow from block to block.
                damping = 0.3 if any(name.startswith(deep) and part in layer.name for deep, part in DAMPED.items()) else 1.0
                weight.assign(weight / np.std(weight) * np.sqrt(2 / fan_in) * damping)
            if kind == "gamma" and type(layer).__name__ == "LayerScale":
                weight.assign(0.3 + 0 * np.asarray(weight))  # 1e-6 would switch the block off
    head = [layer for layer in model.layers if layer.weights][-1]  # a dense layer, or a 1 x 1 convolution
    features = keras.Model(model.input, head.input).predict(images, batch_size=1, verbose=0)  # a call would keep all it computes
    kernel, bias = head.get_weights()
    logits = np.asarray(features).reshape(len(images), -1) @ kernel.reshape(-1, len(bias))
    bias[10:] = -10
    head.set_weights([kernel * (0.7 / logits[:, :10].std(axis=1).mean()), bias])
    return model, images


def convert_one(name, folder, plain):
    """Makes the files of one model, in this process."""
    import tfopt

    result_path = folder / f"{name}.json"
    result = json.loads(result_path.read_text()) if result_path.exists() else {"model": name}
    model, images = make_model(name)
    result["parameters"] = int(model.count_params())
    if "sqnr" not in result:
        start = time.perf_counter()
        made = tfopt.convert(model, representative_data=images, runs=1)
        result["seconds"] = round(time.perf_counter() - start, 1)
        found = made.check.structure
        result |= {
            "passed": made.check.passed,
            "reasons": list(made.check.reasons),
            "float_ops": len(found.float_ops),
            "partitions": found.partitions,
            "sqnr": made.check.outputs[0].sqnr,
            "lowered": {rule: len(layers) for rule, layers in made.lowered.items()} | made.rewritten,
        }
        (folder / f"{name}.int8.tflite").write_bytes(made.tflite)
        twin = tfopt.convert(model, quantization="float32", runs=1)
        (folder / f"{name}.float32.tflite").write_bytes(twin.tflite)
        result_path.write_text(json.dumps(result))
    if plain and "plain_partitions" not in result:
        content = plain_recipe(model, images)
        (folder / f"{name}.plain.tflite").write_bytes(content)
        found = tfopt.check(content).structure
        result |= {"plain_partitions": found.partitions, "plain_float_ops": len(found.float_ops)}
        result_path.write_text(json.dumps(result))


def plain_recipe(model, images):
    """The int8 file of the usual script."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def time_one(name, folder, rounds):
    """Median latencies in ms of the files of one model, run in turn."""
    import tfopt

    kinds = [kind for kind in ("float32", "int8", "plain") if (folder / f"{name}.{kind}.tflite").exists()]
    running = {kind: tfopt.Interpreter(str(folder / f"{name}.{kind}.tflite")) for kind in kinds}
    times = {kind: [] for kind in kinds}
    for interpreter in running.values():
        interpreter.invoke(seed=0)
    for _ in range(rounds):
        for kind, interpreter in running.items():
            start = time.perf_counter()
            interpreter.invoke()
            times[kind].append(1000 * (time.perf_counter() - start))
    path = folder / f"{name}.json"
    result = json.loads(path.read_text())
    result["latency"] = {kind: statistics.median(values) for kind, values in times.items()}
    path.write_text(json.dumps(result))


def print_table(results):
    """Prints the results as a Markdown table, with geometric means."""
    print("| model | parameters | seconds | float ops | partitions | SQNR | int8 speed | plain recipe: speed | partitions |")
    print("|" + " --- |" * 9)
    ratios = {"int8": [], "plain": [], "both": []}
    for result in sorted(results, key=lambda result: result["model"]):
        latency, speed = result.get("latency", {}), {}
        for kind in ("int8", "plain"):
            if kind in latency:
                speed[kind] = latency["float32"] / latency[kind]
                ratios[kind].append(speed[kind])
        if len(speed) == 2:
            ratios["both"].append(speed["int8"])
        cells = [
            result["model"],
            f"{result['parameters'] / 1e6:.1f} M",
            f"{result['seconds']:.0f}",
            result["float_ops"],
            result["partitions"],
            f"{result['sqnr']:.1f} dB",
            *(f"{speed[kind]:.2f}x" if kind in speed else "" for kind in ("int8", "plain")),
            result.get("plain_partitions", ""),
        ]
        print(f"| {' | '.join(map(str, cells))} |")
    for label, kind in (("all", "int8"), ("those with a plain file", "both"), ("plain recipe", "plain")):
        if ratios[kind]:
            print(f"geometric mean of the speed, {label} ({len(ratios[kind])}): {statistics.geometric_mean(ratios[kind]):.2f}x")


def main():
    """Runs the sweep and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("sweep"))
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--rounds", type=int, default=15, help="of --time")
    parser.add_argument("--one", choices=["convert", "time"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = arguments.work
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.one:
        timing = functools.partial(time_one, rounds=arguments.rounds)
        work = timing if arguments.one == "time" else functools.partial(convert_one, plain=arguments.plain)
        work(arguments.models[0], folder)
        return
    chosen = arguments.models or [name for name in names() if arguments.all or name not in LARGE]
    options = ["--work", str(folder), *(["--plain"] if arguments.plain else []), "--rounds", str(arguments.rounds)]
    # A process for each model: memory that the converter took comes back.
    for name in chosen:
        path = folder / f"{name}.json"
        result = json.loads(path.read_text()) if path.exists() else {}
        if "sqnr" not in result or (arguments.plain and "plain_partitions" not in result):
            run([*options, "--one", "convert", name], f"{name}: convert")
    for name in chosen if arguments.time else ():
        if (folder / f"{name}.json").exists():
            run([*options, "--one", "time", name], f"{name}: time")
    print_table([json.loads(path.read_text()) for path in folder.glob("*.json") if path.stem in chosen])


def run(arguments, what):
    """Runs this script for one model; what goes wrong is said, and the sweep goes on."""
    start = time.perf_counter()
    finished = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True)
    verdict = "ok" if finished.returncode == 0 else f"FAILED\n{finished.stderr[-2000:]}"
    print(f"{what} {time.perf_counter() - start:.0f} s {verdict}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
