"""A small classifier of images (8, 8, 3), its data, and how tests of quantization-aware training compile it."""

import keras
import numpy as np

layers = keras.layers
RNG = np.random.default_rng(0)
IMAGES = RNG.random((128, 8, 8, 3)).astype("float32")
LABELS = RNG.integers(0, 4, 128)


def chain(*made, shape=(8, 8, 3)):
    """A Functional model of layers in a row."""
    source = x = keras.Input(shape, name="image")
    for layer in made:
        x = layer(x)
    return keras.Model(source, x, name="net")


def classifier():
    """Conv-BN-ReLU and a Dense, with the same weights each time."""
    keras.utils.set_random_seed(0)
    return chain(
        layers.Conv2D(8, 3, name="conv"), layers.BatchNormalization(), layers.ReLU(), layers.Flatten(),
        layers.Dense(4, name="class"),
    )  # fmt: skip


def compiled(model, **options):
    """`model`, compiled for `LABELS`; without XLA, which takes seconds to compile, unless `options` ask for it."""
    options = {"jit_compile": False, **options}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"], **options)
    model.optimizer.build(model.trainable_variables)  # otherwise the first step builds it, and TensorFlow traces the step twice
    return model


def names(model):
    """Names of the layers of a model."""
    return [layer.name for layer in model.layers]
