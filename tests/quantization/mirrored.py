"""Trains quantization-aware under MirroredStrategy on two logical CPUs; `on_two_devices.py` runs this script."""

from two_devices import strategy  # isort: skip - before Keras

import keras
import numpy as np

import tfopt

rng = np.random.default_rng(0)
x, y = rng.normal(size=(64, 6, 12)).astype("float32"), rng.normal(size=(64, 6, 12)).astype("float32")
for ranges in ("moving_average", "learned"):
    with strategy.scope():
        source = hidden = keras.Input((6, 12))
        if ranges == "moving_average":
            hidden = keras.layers.MultiHeadAttention(2, 4)(source, source)
        qat = tfopt.quantize_aware(keras.Model(source, keras.layers.Dense(12, activation="silu")(hidden)), ranges=ranges)
        qat.compile("adam", "mse", jit_compile=False)
    qat.fit(x, y, batch_size=16, epochs=1, shuffle=False, verbose=0)
    assert not tfopt.quantization_report(qat).unseen
    for variable in qat.variables:
        one, other = (copy.numpy() for copy in strategy.experimental_local_results(variable.value))
        np.testing.assert_allclose(one, other, rtol=1e-5, err_msg=variable.path)
