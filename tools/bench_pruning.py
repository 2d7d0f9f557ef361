"""What a pruned training step costs: Keras 3 with tfopt and tf_keras with tfmot, each against its own plain step, in one run.

    python tools/bench_pruning.py [--rounds 6] [--steps 100] [--threads N]

The same net (convolutions and dense layers, 1.1 M weights, images of 28 x 28, batches of 64) trains through `fit` in four ways, in
turn: Keras 3, Keras 3 with `PruningCallback(PolynomialDecay(0.8))`, tf_keras, and tf_keras with `prune_low_magnitude` and
`UpdatePruningStep`. A step is timed from the end of one batch to the end of the next, so whatever callbacks do in between counts, the
updates of the masks among it. Each round begins with the dense weights of the start and a schedule of its own, so that the masks are
updated in every round, as often as they are by default.

Printed for each: median, mean and minimum of the steps of all rounds. The median of a pruned step hides the updates if they are
fewer than half of the steps; the mean shows them. A first round warms up and is not counted.
"""

import argparse
import os
import statistics
import sys
import time

BATCH = 64
SPARSITY = 0.8
END = 0.75  # of the steps; the default of tfopt.PolynomialDecay
UPDATES = 50  # of the masks; the default of tfopt.PruningCallback
LIMIT = 1.05


def import_tfmot():
    """tensorflow-model-optimization, imported so that `tf.keras` and the environment stay what they were."""
    import keras  # noqa: F401
    import tensorflow as tf

    # tfmot sets the variable, and `tf.keras` is resolved at its first use: the use must come before.
    tf.keras.Model  # noqa: B018
    before = os.environ.get("TF_USE_LEGACY_KERAS")
    import tensorflow_model_optimization

    if before is None:
        os.environ.pop("TF_USE_LEGACY_KERAS", None)
    else:
        os.environ["TF_USE_LEGACY_KERAS"] = before
    return tensorflow_model_optimization


def prune_with_tfmot(model, sparsity, end, frequency):
    """A copy of a tf_keras model whose convolutions and dense layers, but not its last layer, are wrapped for pruning."""
    import tf_keras

    tfmot_keras = import_tfmot().sparsity.keras
    schedule = tfmot_keras.PolynomialDecay(0.0, sparsity, begin_step=0, end_step=end, frequency=frequency)

    def wrap(layer):
        if isinstance(layer, (tf_keras.layers.Conv2D, tf_keras.layers.Dense)) and layer is not model.layers[-1]:
            return tfmot_keras.prune_low_magnitude(layer, pruning_schedule=schedule)
        return layer  # the same object, with its weights

    return tf_keras.models.clone_model(model, clone_function=wrap)


def make_model(keras):
    """The net of either Keras."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            layers.Conv2D(32, 3, padding="same", activation="relu", name="conv1"),
            layers.MaxPooling2D(name="pool1"),
            layers.Conv2D(64, 3, padding="same", activation="relu", name="conv2"),
            layers.MaxPooling2D(name="pool2"),
            layers.Flatten(name="flatten"),
            layers.Dense(320, activation="relu", name="dense1"),
            layers.Dense(128, activation="relu", name="dense2"),
            layers.Dense(10, name="class"),
        ]
    )
