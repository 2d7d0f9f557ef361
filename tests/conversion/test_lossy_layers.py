"""Layers that lose too much in int8, such as the logarithm of a spectrogram: named, kept in float, or cut off."""

import keras
import numpy as np
import pytest

import tfopt
from tfopt.conversion import lossy_layers

LENGTH = 1024
rng = np.random.default_rng(0)
TIME = np.arange(LENGTH) / 8000


def sounds(count):
    pitch, size = rng.uniform(200, 3000, (count, 1)), rng.uniform(0.05, 0.9, (count, 1))
    return (size * np.sin(2 * np.pi * pitch * TIME) + rng.normal(0, 0.02, (count, LENGTH))).astype("float32")


class LogMel(keras.layers.Layer):
    """The logarithm of a sum of a spectrogram's bands, as users write it."""

    def call(self, audio):
        real, imaginary = keras.ops.stft(audio, 128, 64, 128)
        power = keras.ops.square(real) + keras.ops.square(imaginary)
        bands = keras.ops.reshape(power[..., :64], (-1, power.shape[1], 16, 4))
        return keras.ops.log(keras.ops.sum(bands, -1) + 1e-4)


class Wrapped(keras.layers.Layer):
    """A layer made of layers."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inner = LogMel(name="inner")
        self.norm = keras.layers.LayerNormalization(name="norm")

    def call(self, audio):
        return self.norm(self.inner(audio))


SPECTRA = {
    "MelSpectrogram": lambda name: keras.layers.MelSpectrogram(
        fft_length=128, sequence_stride=64, num_mel_bins=16, sampling_rate=8000, max_freq=4000, name=name
    ),
    "own": lambda name: LogMel(name=name),
    "inside another layer": lambda name: Wrapped(name=name),
}


def model_of(kind):
    keras.utils.set_random_seed(0)
    audio = keras.Input((LENGTH,), name="audio")
    x = SPECTRA[kind]("spectrum")(audio)
    x = keras.layers.Conv1D(8, 3, activation="relu", name="conv")(x)
    return keras.Model(audio, keras.layers.Dense(4, name="scores")(keras.layers.GlobalAveragePooling1D()(x)))


def convert(model, data, **options):
    return tfopt.convert(model, representative_data=data, validation_data=data[:40], runs=1, verbose=False, **options)


@pytest.mark.parametrize(
    "kind", [*(pytest.param(kind, marks=pytest.mark.slow) for kind in ("MelSpectrogram", "own")), "inside another layer"]
)
def test_the_layer_is_named_and_both_ways_out_lead_out(kind):
    model, data = model_of(kind), sounds(120)
    failed = convert(model, data)
    assert not failed.check.passed
    named = "inner" if kind == "inside another layer" else "spectrum"
    assert any(f"lost in layer '{named}" in reason or f"/{named}'" in reason for reason in failed.check.reasons)

    in_float = convert(model, data, allow_float=True, io="float32")
    assert in_float.check.passed
    assert "stays in float" in in_float.check.notes[0]
    assert any(tensor.dtype == "int8" and "conv" in tensor.name for tensor in in_float.check.structure.tensors)

    before, body, _ = tfopt.split(model, at=("spectrum", None))
    assert convert(body, before.predict(data, verbose=0)).check.passed


def test_a_file_that_passes_has_no_layer_in_float():
    model, data = model_of("MelSpectrogram"), sounds(60)
    before, body, _ = tfopt.split(model, at=("spectrum", None))
    assert not convert(body, before.predict(data, verbose=0), allow_float=True).check.structure.float_ops


def test_a_file_of_products_and_sums_is_not_searched(monkeypatch):
    monkeypatch.setattr(lossy_layers, "_find", lambda *_: pytest.fail("every layer was looked at"))
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(image)
    model = keras.Model(image, keras.layers.Dense(4)(keras.layers.Flatten()(x)))
    images = np.random.default_rng(0).normal(size=(64, 8, 8, 3)).astype("float32")
    failed = convert(model, images, min_sqnr=80.0)
    assert len(failed.check.reasons) == 1 and "80 dB" in failed.check.reasons[0]
