"""Times `tfopt convert` against the usual recipe, as whole processes from the same `.keras` file, in turn.

The usual recipe is a script that loads the model, calls `TFLiteConverter.from_keras_model` twice (float, and int8 with the same
samples) and writes both files. `tfopt convert` makes both as well, and checks and times the int8 one.

    python tools/bench_convert.py [--rounds 3] [--samples 10] [MODEL ...]

Columns: seconds of a whole process (minimum and median of the rounds) and their ratio, above 1 where tfopt is faster; then of the
two int8 files the share of 64 unseen images with the float model's argmax, and the SQNR; last how fast the int8 file runs against
its float twin, and in how many delegate partitions.
"""

import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from sweep_applications import make_images

MODELS = ["MobileNetV2", "EfficientNetB0", "ResNet50", "NASNetMobile"]

USUAL_RECIPE = """
import sys
import keras, numpy as np, tensorflow as tf
path, samples, out = sys.argv[1:]
model = keras.saving.load_model(path)
data = np.load(samples)
open(out + ".float.tflite", "wb").write(tf.lite.TFLiteConverter.from_keras_model(model).convert())
converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ([sample[None]] for sample in data)
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.inference_input_type = converter.inference_output_type = tf.int8
open(out + ".int8.tflite", "wb").write(converter.convert())
"""


def make_model(name, path, inputs_in_pixels):
    """An untrained keras.applications model, its weights scaled so that no activation dies on the way and classes differ."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None)
    images = make_images(16, model.input_shape[1], seed=1) * (255 if inputs_in_pixels else 1)
    for layer in model.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)):
            for kernel in layer.trainable_weights:
                if len(kernel.shape) == 4:
                    # Keras counts all channels as inputs of a depthwise kernel, which then fades out layer by layer.
                    fan_in = np.prod(kernel.shape[:2] if "depthwise" in kernel.name or kernel.shape[3] == 1 else kernel.shape[:3])
                    kernel.assign(kernel / np.std(kernel) * np.sqrt(2 / fan_in))
    head = model.layers[-1]
    features = keras.Model(model.input, head.input)(images, training=False)
    kernel, bias = head.get_weights()
    # Classes must differ by more than the 1/256 that an int8 softmax can tell apart.
    head.set_weights([kernel * (2 / (np.asarray(features) @ kernel).std(axis=1).mean()), bias])
    model.save(path)


def run(command):
    """Seconds and printed lines of standard output of a whole process."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    start = time.perf_counter()
    finished = subprocess.run(command, capture_output=True, text=True, env=environment)
    seconds = time.perf_counter() - start
    if finished.returncode not in (0, 1):
        sys.exit(f"{command} failed with {finished.returncode}:\n{finished.stderr[-3000:]}")
    return seconds, len(finished.stdout.splitlines())


def agreement(float_file, int8_file, images):
    """(share of images with the same argmax, SQNR in dB) of an int8 file against the float one."""

    import tfopt

    wanted, found = (tfopt.Interpreter(path, threads=2)(images) for path in (float_file, int8_file))
    noise = float(((wanted - found) ** 2).sum())
    return float((wanted.argmax(1) == found.argmax(1)).mean()), 10 * math.log10(float((wanted**2).sum()) / noise)


def main():
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=10)
    arguments = parser.parse_args()
    import numpy as np

    ratios = {"minimum": [], "median": []}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "usual.py").write_text(USUAL_RECIPE)
        columns = [
            "tfopt s",
            "median",
            "usual s",
            "median",
            "ratio",
            "median",
            "argmax",
            "usual",
            "SQNR",
            "usual",
            "speed",
            "parts",
        ]
        print(f"{'model':16}" + "".join(f"{column:>9}" for column in columns))
        for name in arguments.models:
            pixels = name.startswith("EfficientNet")
            path, samples, out = folder / f"{name}.keras", folder / "samples.npy", folder / "tfopt.tflite"
            code = f"import bench_convert; bench_convert.make_model({name!r}, {str(path)!r}, {pixels})"
            subprocess.run([sys.executable, "-c", code], check=True, cwd=pathlib.Path(__file__).parent, stderr=subprocess.DEVNULL)
            scale = 255 if pixels else 1
            np.save(samples, make_images(arguments.samples, 224, seed=1) * scale)
            ours = [sys.executable, "-m", "tfopt", "convert", path, "-o", out, "--calibrate", samples]
            ours += ["--samples", arguments.samples, "--runs", 10, "--force", "--keep-failed"]
            theirs = [sys.executable, folder / "usual.py", path, samples, folder / "usual"]
            times = {"tfopt": [], "usual": []}
            for _ in range(arguments.rounds):
                for side, command in (("tfopt", ours), ("usual", theirs)):
                    seconds, lines = run([str(part) for part in command])
                    times[side].append(seconds)
                    if side == "tfopt" and lines > 20:
                        sys.exit(f"tfopt printed {lines} lines")
            images = make_images(64, 224, seed=2) * scale
            mine = agreement(folder / "usual.float.tflite", out, images)
            usual = agreement(folder / "usual.float.tflite", folder / "usual.int8.tflite", images)
            report = json.loads(out.with_name("tfopt.report.json").read_text())
            cells = []
            for kind, pick in (("minimum", min), ("median", statistics.median)):
                ratios[kind].append(pick(times["usual"]) / pick(times["tfopt"]))
                cells.append([f"{pick(times['tfopt']):.1f}", f"{pick(times['usual']):.1f}", f"{ratios[kind][-1]:.2f}x"])
            cells = [cell for pair in zip(*cells, strict=True) for cell in pair]
            cells += [f"{100 * mine[0]:.1f} %", f"{100 * usual[0]:.1f} %", f"{mine[1]:.1f} dB", f"{usual[1]:.1f} dB"]
            cells += [f"{report['benchmark']['speedup']:.2f}x", str(report["check"]["structure"]["partitions"])]
            print(f"{name:16}" + "".join(f"{cell:>9}" for cell in cells), flush=True)
    print(f"CPU: {report['environment']['cpu']}; {arguments.rounds} rounds in turn, {arguments.samples} calibration samples")
    for kind, values in ratios.items():
        print(f"geometric mean of the ratios of {kind}: {statistics.geometric_mean(values):.2f}x")


if __name__ == "__main__":
    main()
