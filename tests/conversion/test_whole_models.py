"""Whole models as people build them: int8 without a float op, and at least 25 dB, whatever layers they are made of."""

import keras
import numpy as np
import pytest
from lowering_cases import measure
from lowering_cases import to_int8 as to_int8_from

import tfopt
from tfopt.data import signature

layers = keras.layers


def transformer_block(x, heads=2, size=8, wide=32):
    """Pre-norm attention and a GELU perceptron, each with a residual connection (arXiv:1706.03762)."""
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(heads, size)(y, y)])
    y = layers.Dense(wide, activation="gelu")(layers.LayerNormalization()(x))
    return layers.Add()([x, layers.Dense(x.shape[-1])(y)])


def transformer():
    source = keras.Input((10, 16))
    return keras.Model(source, layers.Dense(4)(layers.GlobalAveragePooling1D()(transformer_block(source))))


def vision_transformer():
    source = keras.Input((16, 16, 3))
    x = layers.Reshape((16, 16))(layers.Conv2D(16, 4, strides=4)(source))
    x = transformer_block(transformer_block(x))
    return keras.Model(source, layers.Dense(5)(layers.Flatten()(layers.LayerNormalization()(x))))


def dilated():
    source = keras.Input((48, 4))
    x = layers.Conv1D(8, 1)(source)
    for dilation in (1, 2, 4, 8):
        y = layers.Conv1D(8, 3, padding="causal", dilation_rate=dilation, activation="relu")(x)
        x = layers.Add()([x, layers.Conv1D(8, 1)(y)])
    return keras.Model(source, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def u_net():
    source = keras.Input((16, 16, 3))
    wide = layers.Conv2D(8, 3, padding="same", activation="relu")(source)
    deep = layers.Conv2D(16, 3, padding="same", activation="relu")(layers.MaxPooling2D()(wide))
    joined = layers.Concatenate()([wide, layers.UpSampling2D()(deep)])
    return keras.Model(source, layers.Conv2D(2, 1)(layers.Conv2D(8, 3, padding="same", activation="relu")(joined)))


def two_in_two_out():
    left, right = keras.Input((6,), name="left"), keras.Input((9,), name="right")
    x = layers.Concatenate()([layers.Dense(8, activation="relu")(left), layers.Dense(8, activation="tanh")(right)])
    return keras.Model([left, right], [layers.Dense(2, name="u")(x), layers.Dense(3, name="v")(x)])


def nested():
    inner = keras.Sequential([layers.Conv2D(8, 3, padding="same"), layers.BatchNormalization(), layers.ReLU()], name="inner")
    source = keras.Input((8, 8, 4))
    return keras.Model(source, layers.Dense(3)(layers.GlobalAveragePooling2D()(inner(layers.Conv2D(4, 1)(source)))))


class Scale(layers.Layer):
    def build(self, shape):
        self.factor = self.add_weight(shape=shape[-1:], initializer="random_normal")

    def call(self, inputs):
        return inputs * (1.0 + self.factor)


def custom_layer():
    return keras.Sequential([keras.Input((8,)), layers.Dense(12, activation="relu"), Scale(), layers.Dense(3)])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = layers.Dense(12, activation="relu"), layers.LayerNormalization(), layers.Dense(3)

    def call(self, inputs):
        return self.last(self.norm(self.first(inputs)))


def nested_dicts():
    inputs = {"image": keras.Input((6, 6, 2), name="image"), "more": {"row": keras.Input((5,), name="row")}}
    x = layers.Concatenate()([layers.Flatten()(layers.Conv2D(4, 3)(inputs["image"])), inputs["more"]["row"]])
    return keras.Model(inputs, layers.Dense(3)(x))


def recurrent(layer):
    return lambda: keras.Sequential([keras.Input((10, 6)), layer(), layers.Dense(4)])


MODELS = {
    "transformer": transformer,
    "vision transformer": vision_transformer,
    "dilated": dilated,
    "u-net": u_net,
    "two in, two out": two_in_two_out,
    "nested": nested,
    "custom layer": custom_layer,
    "nested dicts": nested_dicts,
    "lstm": recurrent(lambda: layers.LSTM(16)),
    "gru": recurrent(lambda: layers.GRU(16)),
    "bidirectional": recurrent(lambda: layers.Bidirectional(layers.LSTM(12))),
    "convlstm": lambda: keras.Sequential(
        [keras.Input((4, 8, 8, 2)), layers.ConvLSTM2D(4, 3, padding="same"), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    ),
}


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_int8_at_25_decibel(build):
    keras.utils.set_random_seed(0)
    model = build()
    specs = signature.input_specs(model)
    generator = np.random.default_rng(0)
    calibration, checked = (
        {spec.name: generator.normal(size=(count, *spec.shape[1:])).astype("float32") for spec in specs} for count in (512, 48)
    )
    float_ops, decibel = measure(model, to_int8_from(model, data=calibration), data=checked)
    assert not float_ops
    assert min(decibel) >= 25.0, decibel


def test_a_subclassed_model():
    keras.utils.set_random_seed(0)
    model = Subclassed()
    data = np.random.default_rng(0).normal(size=(512, 8)).astype("float32")
    model(data)
    result = tfopt.convert(
        model, representative_data=data[:448], validation_data=data[448:], input_shapes={"row": (None, 8)}, min_sqnr=25, runs=1
    )
    assert result.check.passed, result.check.reasons
    assert not result.check.structure.float_ops


def test_a_trained_lstm_is_small_and_right():
    """Which of two tones comes first? A task of sequences that an LSTM learns in seconds."""
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 1200)
    tones = np.stack([np.sin(np.arange(12) * pitch) for pitch in (0.6, 1.7)])
    x = np.stack([np.concatenate([tones[label], tones[1 - label]]) for label in labels])[..., None]
    x = (x + 0.3 * generator.normal(size=x.shape)).astype("float32")
    model = keras.Sequential([keras.Input((24, 1)), layers.LSTM(64), layers.Dense(2, activation="softmax")])
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    model.fit(x[:800], labels[:800], batch_size=50, epochs=5, verbose=0)
    result = tfopt.convert(model, representative_data=x[:400], validation_data=(x[800:], labels[800:]), runs=1)
    assert result.check.passed, result.check.reasons
    assert result.check.reference_accuracy > 0.9 and result.check.accuracy_drop <= 0.01
    assert result.check.structure.ops["UNIDIRECTIONAL_SEQUENCE_LSTM"] == 1
    assert len(result.tflite) <= 1.2 * fused_bytes(model, x[:400])


def fused_bytes(model, samples):
    """Bytes of what the plain converter makes of the same weights in a Keras 2 LSTM, which it fuses."""
    import tensorflow as tf
    import tf_keras

    old = tf_keras.Sequential(
        [tf_keras.layers.Input((24, 1), 1), tf_keras.layers.LSTM(64), tf_keras.layers.Dense(2, activation="softmax")]
    )
    old.set_weights(model.get_weights())
    converter = tf.lite.TFLiteConverter.from_keras_model(old)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return len(converter.convert())
