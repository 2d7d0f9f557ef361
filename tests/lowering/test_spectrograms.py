"""Spectrograms inside a model: layers of Keras, `keras.ops`, and TensorFlow's own, as users write them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from seeded_models import Compute, measure, seeded, to_int8

LENGTH = 800


def magnitude(audio):
    real, imaginary = keras.ops.stft(audio, 64, 32, 64)
    return keras.ops.sqrt(keras.ops.square(real) + keras.ops.square(imaginary))


def power(audio):
    return keras.ops.square(magnitude(audio))


def angle(audio):
    real, imaginary = keras.ops.stft(audio, 64, 32, 64)
    return keras.ops.cos(keras.ops.arctan2(imaginary, real + 10.0))


def image_magnitude(audio):
    images = keras.ops.reshape(audio, (-1, 20, 40))
    real, imaginary = keras.ops.fft2((images, keras.ops.zeros_like(images)))
    return keras.ops.sqrt(keras.ops.square(real) + keras.ops.square(imaginary))


SPECTROGRAMS = {
    "STFTSpectrogram, magnitude": lambda k: k.layers.STFTSpectrogram("magnitude", frame_length=64, frame_step=32),
    "STFTSpectrogram, expanded": lambda k: k.layers.STFTSpectrogram("magnitude", frame_length=64, frame_step=32, expand_dims=True),
    "STFTSpectrogram, psd": lambda k: k.layers.STFTSpectrogram("psd", frame_length=64, frame_step=32),
    "STFTSpectrogram, stft": lambda k: k.layers.STFTSpectrogram("stft", frame_length=64, frame_step=32),
    "keras.ops.stft, magnitude": lambda k: Compute(magnitude),
    "keras.ops.stft, power": lambda k: Compute(power),
    "keras.ops.stft, angle": lambda k: Compute(angle),
    "keras.ops.fft2, magnitude": lambda k: Compute(image_magnitude),
    "tf.signal.stft": lambda k: Compute(lambda audio: tf.abs(tf.signal.stft(audio, 64, 32))),
    "tf.signal.rfft": lambda k: Compute(lambda audio: tf.abs(tf.signal.rfft(tf.signal.frame(audio, 64, 32)))),
}


def sounds(count, seed):
    generator = np.random.default_rng(seed)
    return (generator.uniform(0.3, 1.0, (count, 1)) * generator.normal(0, 0.3, (count, LENGTH))).astype("float32")


def model_of(layer):
    def build(k):
        audio = k.Input((LENGTH,), name="audio")
        x = k.layers.Reshape((LENGTH, 1))(audio) if isinstance(layer, k.layers.STFTSpectrogram) else audio
        return k.Model(audio, k.layers.Dense(4)(layer(x)))

    return seeded(build, "keras3")


@pytest.mark.parametrize("name", SPECTROGRAMS)
def test_a_spectrogram_is_int8_as_exact_as_other_layers(name):
    model = model_of(SPECTROGRAMS[name](keras))
    content = to_int8(model, data={"audio": sounds(128, seed=1)})
    float_ops, (decibel,) = measure(model, content, data={"audio": sounds(32, seed=2)})
    print(name, decibel)
    assert not float_ops
    assert decibel >= 30.0
