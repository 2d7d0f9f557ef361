"""Trains with optimizers that accumulate, clip, and average, with one replica or with several."""

import functools

import keras
import numpy as np
from in_scope import save_found

FEW = {
    "accumulated": lambda: keras.optimizers.AdamW(
        0.01, weight_decay=0.1, global_clipnorm=0.1, use_ema=True, ema_momentum=0.9, gradient_accumulation_steps=3
    ),
    "clipped": lambda: keras.optimizers.SGD(0.1, momentum=0.9, clipnorm=0.1),
}
ALL = FEW | {
    "sums": lambda: keras.optimizers.SGD(0.1, momentum=0.9, gradient_accumulation_steps=4),
    "scaled sums": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)),
    "overwritten": lambda: keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=2),
    "overwritten sums": lambda: keras.optimizers.SGD(
        0.1, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=2, gradient_accumulation_steps=2
    ),
    "values": lambda: keras.optimizers.RMSprop(0.01, clipvalue=0.01, gradient_accumulation_steps=2),
    "nadam": lambda: keras.optimizers.Nadam(0.01, gradient_accumulation_steps=2),
}


def run(strategy, worker, folder):
    """Writes the findings of one worker into `folder`."""
    save_found(strategy, worker, folder, functools.partial(train, optimizers=ALL))


def train(make, optimizers=ALL):
    """dict of arrays: all weights in one row, of an embedding too, after three epochs whose last batch is small.

    Args:
        make: function of a function that builds a model, which it calls in its scope.
        optimizers: name -> function that makes an optimizer.
    """
    rng = np.random.default_rng(0)
    x = rng.integers(0, 20, size=(107, 6))
    y = x.sum(1) % 3
    found = {}
    for name, optimizer in optimizers.items():
        model = make(lambda optimizer=optimizer: build(optimizer()))
        model.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0)
        found[name] = np.concatenate([weight.ravel() for weight in model.get_weights()])
    return found


def build(optimizer):
    """A net with sparse gradients, compiled."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Embedding(20, 4), keras.layers.Flatten(), keras.layers.Dense(8, "tanh"), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((6,), dtype="int32"), *layers])
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    return model
