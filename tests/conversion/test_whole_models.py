"""Whole models as people build them: int8 without a float op, and at least 25 dB, whatever layers they are made of."""

import keras
import numpy as np
import pytest
from seeded_models import measure, to_int8
from whole_models import MODELS

import tfopt
from tfopt.data import signature

layers = keras.layers


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = layers.Dense(12, activation="relu"), layers.LayerNormalization(), layers.Dense(3)

    def call(self, inputs):
        return self.last(self.norm(self.first(inputs)))


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_int8_at_25_decibel(build):
    keras.utils.set_random_seed(0)
    model = build()
    specs = signature.input_specs(model)
    generator = np.random.default_rng(0)
    calibration, checked = (
        {spec.name: generator.normal(size=(count, *spec.shape[1:])).astype("float32") for spec in specs} for count in (512, 48)
    )
    float_ops, decibel = measure(model, to_int8(model, data=calibration), data=checked)
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


@pytest.mark.slow
def test_a_trained_lstm_is_small_and_right():
    """Which of two tones comes first? A task of sequences that an LSTM learns in seconds."""
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 1200)
    tones = np.stack([np.sin(np.arange(12) * pitch) for pitch in (0.6, 1.7)])
    x = np.stack([np.concatenate([tones[label], tones[1 - label]]) for label in labels])[..., None]
    x = (x + 0.3 * generator.normal(size=x.shape)).astype("float32")
    model = keras.Sequential([keras.Input((24, 1)), layers.LSTM(64), layers.Dense(2, activation="softmax")])
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy", jit_compile=False)
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
