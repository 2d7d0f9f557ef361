"""Small nets of images (8, 8, 3), their data, and distillers of them."""

import keras
import numpy as np
from keras import layers

import tfopt

_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(96, 8, 8, 3)).astype("float32")
Y = _RNG.integers(0, 4, 96)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def net(channels, name, activation=None, classes=4):
    """A Conv-BN-ReLU, pooling and a Dense."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(channels, 3, padding="same", strides=2, use_bias=False, name="conv")(image)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(classes, activation=activation, name="class")(x), name=name)


def flat(variables):
    """The values of variables in one array."""
    return np.concatenate([variable.numpy().ravel() for variable in variables])


def distiller(student=None, teacher=None, seed=0, optimizer="adam", **options):
    """A distiller of small nets, compiled without XLA, which takes seconds to compile."""
    keras.utils.set_random_seed(seed)
    teacher = net(12, "teacher") if teacher is None else teacher
    made = tfopt.Distiller(student=net(6, "student") if student is None else student, teacher=teacher, **options)
    made.compile(optimizer, LOSS, metrics=["accuracy"], jit_compile=False)
    if made.built:
        made.optimizer.build(made.trainable_variables)  # otherwise the first step does, and TensorFlow traces the step twice
    return made


def every_loss():
    """One of each kind of loss."""
    return [
        tfopt.LogitsDistillation(), tfopt.DecoupledDistillation(), tfopt.FeatureDistillation("relu", "relu"),
        tfopt.AttentionTransfer("relu", "relu"), tfopt.RelationalDistillation(student_layer="pool", teacher_layer="pool"),
    ]  # fmt: skip
