"""Real `.h5` files of six Keras generations: each computes what its writer computed, or asks for what it lacks and then does,
and keeps to it in int8.
"""

import dataclasses
import pathlib
import re

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfopt
from tfopt.conversion import export
from tfopt.data import signature
from tfopt.loading.load import load_with_steps
from tfopt.loading.options import LoadOptions
from tfopt.lowering import lower
from tfopt.lowering.trace import float_ids, trace_model
from tfopt.tflite import op_audit

FOLDER = pathlib.Path(__file__).parents[2] / "data" / "legacy_h5"
FILES = sorted(FOLDER.glob("*/*.h5"))


class Gain(tf_keras.layers.Layer):
    def build(self, shape):
        self.g = self.add_weight(name="g", shape=shape[-1:])

    def call(self, x):
        return x * self.g


class MaxoutDense(tf_keras.layers.Layer):
    """Keras 1's, with the arguments that its files hold."""

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


# Kind of file -> (kind of error, what it must ask for, the answer).
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
    """The model; questions are asked first, and then answered."""
    if path.stem not in QUESTIONS:
        return load_with_steps(path, LoadOptions())
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
    return load_with_steps(path, LoadOptions(**answer))


def require_int8(model, inputs):
    """Converts to int8 without any float op and at least 20 dB on the file's own inputs, repeated with noise."""
    generator = np.random.default_rng(0)

    def noisy(array):
        repeated = np.repeat(array, 32, axis=0)
        noise = generator.normal(size=repeated.shape) * 0.1 * array.std()
        return repeated if array.dtype.kind == "i" else (repeated + noise).astype("float32")

    specs = signature.input_specs(model)
    batch = specs[0].shape[0] or 1
    shapes = {spec.name: array.shape[1:] for spec, array in zip(specs, inputs, strict=True)}
    specs = signature.fix_sizes(specs, batch, shapes)
    lowering = lower.plan(model)
    traced = trace_model(model, specs, lowering)
    if ids := float_ids(traced):
        specs = [dataclasses.replace(spec, dtype="int32") if spec.name in ids else spec for spec in specs]
        traced = trace_model(model, specs, lowering)
    calibration, checked = ({spec.name: noisy(array) for spec, array in zip(specs, inputs, strict=True)} for _ in range(2))
    content = export.to_tflite(traced, export.Variant("int8"), samples=calibration).content
    interpreter, reference = tfopt.Interpreter(content), trace_model(model, specs) if lowering.touched else traced
    assert not op_audit.examine(interpreter, quantization="int8").float_ops
    checked = {name: array[:64] for name, array in checked.items()}
    batches = [{name: array[start : start + batch] for name, array in checked.items()} for start in range(0, 64, batch)]
    wanted = [np.concatenate(outputs) for outputs in zip(*map(reference, batches), strict=True)]
    for output, right in zip(interpreter.run(checked), wanted, strict=True):
        assert 10 * np.log10((right**2).sum() / ((right - output) ** 2).sum()) >= 20


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_legacy_file_computes_what_its_writer_computed(path):
    model, steps = load_with_answers(path)
    data = np.load(path.with_name(path.name.replace("_weights_only", "")).with_suffix(".npz"))
    inputs = [data[name] for name in sorted(data) if name.startswith("x")]
    expected = [data[name] for name in sorted(data) if name.startswith("y")]
    outputs = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    for output, wanted in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output, wanted, atol=1e-2 if path.stem == "mixed_float16" else 1e-4)
    counts = re.fullmatch(r"verified: (\d+) of (\d+) weights assigned once.*", steps[-1])
    assert counts and counts[1] == counts[2], steps
    require_int8(model, inputs)
    if path.stem == "mixed_float16":
        assert any("rebuilt under float32" in step for step in steps)
        assert {layer.compute_dtype for layer in model.layers} == {"float32"}


def test_the_corpus_is_whole():
    assert len(FILES) == 188 and len({path.parent.name for path in FILES}) == 6


def test_a_second_opinion_names_what_keras_3_would_read_wrong():
    _, steps = load_with_steps(FOLDER / "tf-2.15.1" / "activations.h5", LoadOptions())
    assert steps[0].startswith("read with tf_keras") and steps[0].endswith("written by Keras 2.15.0")
    assert re.search("12 of 12|8 of 8|weights assigned once; Keras 3 would read it wrong", steps[-1])
    _, steps = load_with_steps(FOLDER / "tf-2.15.1" / "cnn.h5", LoadOptions())
    assert "Keras 3 gives the same outputs" in steps[-1]
