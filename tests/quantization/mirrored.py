"""Trains quantization-aware under MirroredStrategy on two logical CPUs, in a process of its own; prints "held"."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import numpy as np
import tensorflow as tf

import tfopt

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
rng = np.random.default_rng(0)
x, y = rng.normal(size=(64, 6, 12)).astype("float32"), rng.normal(size=(64, 6, 12)).astype("float32")
for ranges in ("moving_average", "learned"):
    with strategy.scope():
        source = keras.Input((6, 12))
        attended = keras.layers.MultiHeadAttention(2, 4)(source, source)
        qat = tfopt.quantize_aware(keras.Model(source, keras.layers.Dense(12, activation="silu")(attended)), ranges=ranges)
        qat.compile("adam", "mse", jit_compile=False)
    qat.fit(x, y, batch_size=16, epochs=1, shuffle=False, verbose=0)
    assert not tfopt.quantization_report(qat).unseen
    for variable in qat.variables:
        one, other = (copy.numpy() for copy in strategy.experimental_local_results(variable.value))
        np.testing.assert_allclose(one, other, rtol=1e-5, err_msg=variable.path)
print("held")
