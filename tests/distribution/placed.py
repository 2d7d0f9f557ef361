"""Places a model on two logical CPUs, and compares it with one that is not placed; writes a file "placed"."""

import collections

import keras
import numpy as np
import tensorflow as tf

import tfopt


def run(strategy, worker, folder):
    """Raises if the placed model differs."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((8, 8, 1))
    first = layers.Conv2D(4, 3, padding="same", name="first")(inputs)
    normal = layers.BatchNormalization(name="normal")(first)
    second = layers.Conv2D(4, 3, padding="same", name="second")(normal)
    nested = keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(4, 3, name="third")], name="nested")
    flat = layers.Flatten(name="flat")(nested(second + first))
    model = keras.Model(inputs, layers.Dense(3, name="head")(flat))
    placed = tfopt.place(model, {"/cpu:0": ("first", "normal"), "/cpu:1": ["second", "nested", "flat", "hea*"]})

    where = {weight.path.split("/")[0]: weight.value.device[-5:] for weight in placed.weights}
    assert where == {"first": "CPU:0", "normal": "CPU:0", "second": "CPU:1", "nested": "CPU:1", "head": "CPU:1"}, where
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 8, 8, 1)).astype("float32"), rng.integers(0, 3, 32)
    assert placed(x).device.endswith("CPU:1")
    np.testing.assert_array_equal(model(x), placed(x))

    for one, other in zip(gradients(model, x), gradients(placed, x), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    graph = tf.function(lambda: gradients(placed, x)).get_concrete_function().graph
    kinds = ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter")
    found = collections.Counter((each.type, each.device[-5:]) for each in graph.get_operations() if each.type in kinds)
    assert {device for _, device in found} == {"CPU:0", "CPU:1"}, found  # the gradient too, and nothing without a device
    assert found["Conv2DBackpropFilter", "CPU:0"] == 1 and found["Conv2DBackpropFilter", "CPU:1"] == 2, found

    for each in (model, placed):
        each.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        each.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
    for one, other in zip(model.get_weights(), placed.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    placed.save(folder / "placed.keras")
    np.testing.assert_allclose(keras.saving.load_model(folder / "placed.keras")(x), placed(x), atol=1e-6)
    (folder / "placed").touch()


def gradients(each, x):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(each(x, training=True) ** 2)
    return tape.gradient(loss, each.trainable_variables)
