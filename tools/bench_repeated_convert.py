"""How long a further `tfopt.convert` takes in a process that converts again and again, against the usual script.

Both sides make a float32 and an int8 file of the demo's CNN, in turn in one process; tfopt also checks and times them. The first
round, in which tfopt starts its child process, is not counted.

    python tools/bench_repeated_convert.py --rounds 7
"""

import argparse
import contextlib
import io
import os
import statistics
import time

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import tfopt
from tfopt.cli.demo_model import build


def usual(model, images):
    """The two files of the usual script."""
    plain = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return plain, converter.convert()


def main():
    """Prints seconds and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    images, digits = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 16.0).astype("float32")
    keras.utils.set_random_seed(0)
    model = build()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(images, digits, epochs=2, verbose=0)
    seconds = {"tfopt": [], "usual": []}
    for _ in range(arguments.rounds + 1):
        start = time.perf_counter()
        tfopt.convert(model, representative_data=images[:200], validation_data=(images[:360], digits[:360]), verbose=False)
        middle = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):  # Keras tells of each export
            usual(model, images[np.random.default_rng(0).permutation(len(images))[:200]])
        seconds["tfopt"].append(middle - start)
        seconds["usual"].append(time.perf_counter() - middle)
    print(f"first: tfopt {seconds['tfopt'][0]:.2f} s, usual {seconds['usual'][0]:.2f} s")
    ours, theirs = seconds["tfopt"][1:], seconds["usual"][1:]
    for name, choose in (("minimum", min), ("median", statistics.median)):
        print(f"{name}: tfopt {choose(ours):.2f} s, usual {choose(theirs):.2f} s, ratio {choose(ours) / choose(theirs):.2f}")


if __name__ == "__main__":
    main()
