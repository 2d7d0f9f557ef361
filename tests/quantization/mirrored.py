"""Trains quantization-aware under MirroredStrategy on two logical CPUs; `on_two_devices.py` runs this script."""

from two_devices import strategy  # isort: skip - before Keras

import keras
import numpy as np

import tfopt


class Gated(keras.layers.Layer):
    """A layer with operations of its own and a dropout that has a seed."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.gate, self.dropout = keras.layers.Dense(12), keras.layers.Dropout(0.1)

    def call(self, x, training=False):
        return self.dropout(x * keras.ops.sigmoid(self.gate(x)), training=training)


rng = np.random.default_rng(0)
x, y = rng.normal(size=(64, 6, 12)).astype("float32"), rng.normal(size=(64, 6, 12)).astype("float32")
for ranges in ("moving_average", "learned"):
    with strategy.scope():
        source = hidden = keras.Input((6, 12))
        if ranges == "moving_average":
            hidden = keras.layers.MultiHeadAttention(2, 4)(source, source)
        outputs = keras.layers.Dense(12, activation="silu")(Gated()(hidden))
        qat = tfopt.quantize_aware(keras.Model(source, outputs), ranges=ranges)
        qat.compile("adam", "mse", jit_compile=False)
    qat.fit(x, y, batch_size=16, epochs=1, shuffle=False, verbose=0)
    assert not tfopt.quantization_report(qat).unseen
    for variable in qat.variables:
        one, other = (copy.numpy() for copy in strategy.experimental_local_results(variable.value))
        np.testing.assert_allclose(one, other, rtol=1e-5, err_msg=variable.path)
