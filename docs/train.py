"""Trains, prunes and quantizes a small CNN on one device or many, and writes the int8 file.

python docs/train.py                                  # one device, or all GPUs
tfopt launch -n 2 docs/train.py --folder out          # two workers
"""

import argparse
import pathlib

import tfopt

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path())
options = parser.parse_args()
strategy = tfopt.strategy()  # before TensorFlow computes anything

import keras  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402

keras.utils.set_random_seed(0)
images, labels = load_digits(return_X_y=True)
images = (images.reshape(-1, 8, 8, 1) / 16.0).astype("float32")
train, test = (images[:1500], labels[:1500]), (images[1500:], labels[1500:])
batch = 32 * strategy.num_replicas_in_sync  # the batch of all replicas together
rate = tfopt.scale_learning_rate(1e-3, batch, 32, rule="sqrt")
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

with strategy.scope():
    layers = [keras.Input((8, 8, 1)), keras.layers.Conv2D(16, 3, use_bias=False), keras.layers.BatchNormalization()]
    layers += [keras.layers.ReLU(), keras.layers.Flatten(), keras.layers.Dense(10)]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(tfopt.WarmUp(rate, steps=20)), loss, metrics=["accuracy"])
pruning = tfopt.PruningCallback(tfopt.PolynomialDecay(final_sparsity=0.5))
model.fit(*train, batch_size=batch, epochs=options.epochs, callbacks=[pruning], verbose=2)

with strategy.scope():
    quantized = tfopt.quantize_aware(model)
    quantized.compile(keras.optimizers.Adam(rate / 10), loss, metrics=["accuracy"])
quantized.fit(*train, batch_size=batch, epochs=1, callbacks=[tfopt.PreserveSparsity()], verbose=2)
quantized.save(options.folder / "quantized.keras")  # on every worker: the chief writes it

resolver = strategy.cluster_resolver
if resolver is None or (resolver.task_type, resolver.task_id) in ((None, None), ("", None), ("chief", 0), ("worker", 0)):
    result = tfopt.convert(options.folder / "quantized.keras", validation_data=test, float_model=model)
    print(f"int8 accuracy {result.check.accuracy:.2%}, {'passed' if result.check.passed else result.check.reasons}")
    result.save(options.folder / "model.tflite", overwrite=True, keep_failed=True)
