"""What Keras does by itself with two workers; prints "trained" if it does. A script for workers."""

import numpy as np
import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()

import keras  # noqa: E402 - after the strategy

with strategy.scope():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
try:
    model.fit(np.zeros((16, 4), "float32"), np.zeros((16, 2), "float32"), batch_size=8, verbose=0)
except Exception as error:
    print("failed:", type(error).__name__, str(error)[:300])
else:
    print("trained")
