"""A small net that is pruned in many ways, and what its kernels show."""

import keras
import numpy as np
from keras import layers


def build(**options):
    """A classifier whose kernels `first` and `second` are pruned by default; `options` are those of its first layer."""
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(16, activation="relu", name="first", **options),
            layers.Dense(16, activation="relu", name="second"),
            layers.Dense(3, activation="softmax", name="head"),
        ]
    )


def compiled(model=None, optimizer=None, **options):
    """The model, or a new one, compiled."""
    model = model or build()
    options.setdefault("jit_compile", False)  # compiling takes longer than training here
    model.compile(optimizer or keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", **options)
    return model


def fit(model, data, *callbacks, **options):
    """Trains for 6 epochs of 4 steps."""
    x, y = data
    return model.fit(x, y, **{"batch_size": 16, "epochs": 6, "verbose": 0, "shuffle": False, **options}, callbacks=list(callbacks))


def zeros(model):
    """Zeros of the kernels that are pruned by default, as fractions."""
    return [float(np.mean(layer.kernel.numpy() == 0)) for layer in model.layers if layer.name in ("first", "second")]


def reached(model, sparsity=0.75):
    """Whether both kernels have this sparsity."""
    return np.allclose(zeros(model), sparsity, rtol=1e-6)


def constraints(model):
    """The constraints of the trainable variables that have one."""
    return [variable.constraint for variable in model.trainable_variables if variable.constraint is not None]


class Zeros(keras.callbacks.Callback):
    """Notes the zeros after every step."""

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(zeros(self.model))


class OwnStep(keras.Model):
    """A model with a train_step of its own."""

    def train_step(self, batch):
        import tensorflow as tf

        x, y = batch
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


def with_class(model_class, model=None):
    """The net as a model of another class."""
    model = model or build()
    return model_class(model.inputs, model.outputs)
