"""Real `.h5` files of six Keras generations, and the answers to their questions."""

import pathlib
import re

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfopt
from tfopt.loading.load import load_file
from tfopt.loading.options import LoadOptions

FOLDER = pathlib.Path(__file__).parents[2] / "data" / "legacy_h5"
FILES = sorted(FOLDER.glob("*/*.h5"))


class Gain(tf_keras.layers.Layer):
    def build(self, shape):
        self.g = self.add_weight(name="g", shape=shape[-1:])

    def call(self, x):
        return x * self.g


class MaxoutDense(tf_keras.layers.Layer):
    """As in Keras 1, with the arguments that its files hold."""

    def __init__(self, output_dim, nb_feature=4, name=None, batch_input_shape=None, **_):
        super().__init__(name=name, **({"batch_input_shape": batch_input_shape} if batch_input_shape else {}))
        self.sizes = nb_feature, output_dim

    def build(self, shape):
        self.w = self.add_weight(name="W", shape=(self.sizes[0], shape[-1], self.sizes[1]))
        self.b = self.add_weight(name="b", shape=self.sizes)

    def call(self, x):
        return tf.reduce_max(tf.einsum("bi,fio->bfo", x, self.w) + self.b, 1)


class Highway(tf_keras.layers.Layer):
    def __init__(self, activation="linear", name=None, **_):
        super().__init__(name=name)
        self.activation = tf_keras.activations.get(activation)

    def build(self, shape):
        size = shape[-1]
        self.w, self.carry = (self.add_weight(name=name, shape=(size, size)) for name in ("W", "W_carry"))
        self.b, self.b_carry = (self.add_weight(name=name, shape=(size,)) for name in ("b", "b_carry"))

    def call(self, x):
        gate = tf.sigmoid(x @ self.carry + self.b_carry)
        return gate * self.activation(x @ self.w + self.b) + (1 - gate) * x


def capped_leaky(x):
    return tf.minimum(tf.nn.leaky_relu(x, 0.1), 20.0)


def cnn():
    layers = tf_keras.layers
    source = layers.Input((16, 16, 3))
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(source))
    x = layers.Flatten()(layers.MaxPooling2D(2)(layers.Activation("relu")(x)))
    return tf_keras.Model(source, layers.Dense(4, activation="softmax")(x))


# Kind of file -> (kind of error, question in its message, answer).
QUESTIONS = {
    "lambda_layer": (tfopt.UnsafeModelError, "holds Python bytecode", {"custom_objects": {}, "allow_unsafe": True}),
    "lambda_activation": (
        tfopt.LoadError,
        r"layer 'dense_\d' has the activation `<lambda>`(.|\n)*custom_objects = {\"<lambda>\"",
        {"custom_objects": {"<lambda>": capped_leaky}},
    ),
    "custom_layer": (tfopt.LoadError, "layer 'gain(_1)?' needs 'Gain'", {"custom_objects": {"Gain": Gain}}),
    "maxout": (
        tfopt.LoadError,
        "'maxoutdense_1' needs 'MaxoutDense'",
        {"custom_objects": {"MaxoutDense": MaxoutDense, "Highway": Highway}},
    ),
    "cnn_weights_only": (tfopt.LoadError, "weights only.*--architecture MODULE:FUNCTION", {"architecture": cnn}),
}


def load_with_answers(path):
    """(model, steps) of a file; a file that needs something must ask for it first."""
    if path.stem not in QUESTIONS:
        return load_file(path, LoadOptions()).verified()
    kind, question, answer = QUESTIONS[path.stem]
    with pytest.raises(kind, match=question) as caught:
        tfopt.load(path)
    assert type(caught.value) is kind
    if path.stem == "lambda_layer":
        with h5py.File(path) as file:
            name = re.search(r"lambda(_1)?(?=\")", file.attrs["model_config"]).group()
        if path.parent.name != "tf-2.15.1":  # whose Python is this one
            with pytest.raises(
                tfopt.LoadError, match=f"(?s)bytecode must be of this Python.*custom_objects = {{'{name}': function}}"
            ):
                tfopt.load(path, allow_unsafe=True)
        answer = {"custom_objects": {name: lambda t: t * 2 + 1}}
    if path.match("keras-1.2.2*/lambda_activation.h5"):
        answer = {"custom_objects": {"<lambda>": lambda t: t}}
    return load_file(path, LoadOptions(**answer)).verified()


def read_arrays(path):
    """(inputs, outputs) that the writer of a file stored beside it."""
    data = np.load(path.with_name(path.name.replace("_weights_only", "")).with_suffix(".npz"))
    return tuple([data[name] for name in sorted(data) if name.startswith(letter)] for letter in "xy")
