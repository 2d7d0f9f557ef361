"""Augmentation inside a quantization-aware model: it runs in training, and nothing is rounded after it."""

import keras
import numpy as np

import tfopt
from tfopt.quantization.fake_quantize import FakeQuantize


def test_augmentation_is_not_rounded_and_the_file_agrees():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((12, 12, 3), name="image"),
            layers.RandomFlip(),
            layers.RandomRotation(0.1),
            layers.RandomZoom(0.1),
            layers.Rescaling(1 / 255),
            layers.GaussianNoise(0.01),
            layers.Conv2D(8, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    x = np.random.default_rng(0).integers(0, 256, (64, 12, 12, 3)).astype("float32")
    y = np.arange(64) % 3
    qat = tfopt.quantize_aware(model)
    assert not [each.name for each in qat.layers if isinstance(each, FakeQuantize) and each.name.startswith("random")]
    qat.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    qat.fit(x, y, epochs=2, verbose=0)
    assert not np.allclose(qat(x[:4], training=True), qat(x[:4], training=True))
    result = tfopt.convert(qat, validation_data=x, io="uint8", runs=1)
    assert result.check.passed and result.check.outputs[0].most_error_lsb <= 2
