"""A `Distiller` refuses models, losses and data that it cannot use, before it trains."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from small_distillers import X, Y, distiller, net

import tfopt
from tfopt.distillation import guards


def nan_teacher():
    teacher = net(12, "teacher")
    teacher.get_layer("class").bias.assign([np.nan, 0, 0, 0])
    return teacher


DATASET = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
REFUSALS = [
    ("with the same classes", {"teacher": lambda: net(12, "teacher", classes=7)}),
    ("Received: 'rellu'. Closest: relu", {"distillation_losses": [tfopt.FeatureDistillation("rellu", "relu")]}),
    ("must have a name of its own", {"distillation_losses": [tfopt.LogitsDistillation()] * 2}),
    ("of at least 0 for each of 1 losses", {"distillation_loss_weights": [1.0, 2.0]}),
    ("from 0 to 1. Received: 1.5", {"student_loss_weight": 1.5}),
    ("Received: 'kl'", {"distillation_losses": "kl"}),
    ("`teacher` must be a Keras 3 model. Received: str", {"teacher": lambda: "teacher.keras"}),
    ("same inputs", {"teacher": lambda: keras.Sequential([keras.Input((9,)), layers.Dense(4)])}),
    ("decoupled_distillation needs labels", {"y": None, "distillation_losses": tfopt.DecoupledDistillation()}),
    ("A cache needs arrays.*BatchDataset", {"x": DATASET, "y": None, "cache": "memory"}),
    ("from_logits=False needs probabilities", {"distillation_losses": tfopt.LogitsDistillation(from_logits=False)}),
    ("`cache` must be None, 'memory' or the path of a folder. Received: 3", {"cache": 3}),
    ("NaN or infinity in its weight 'class/bias'", {"teacher": nan_teacher}),
    ("at least one sample", {"x": X[:0], "y": Y[:0]}),
]


@pytest.mark.parametrize(("message", "options"), REFUSALS)
def test_refusals(message, options):
    options = dict(options)
    x, y = options.pop("x", X), options.pop("y", Y)
    teacher = options.pop("teacher", lambda: net(12, "teacher"))()
    kind = tfopt.DataError if message.startswith(("NaN", "at least")) else tfopt.ArgumentError
    with pytest.raises(kind, match=message):
        distiller(teacher=teacher, **options).fit(x, y, verbose=0)


def test_probabilities_taken_for_logits_are_noticed():
    made = distiller(teacher=net(12, "teacher", "softmax"))
    with pytest.warns(UserWarning, match="give it from_logits=False"):
        made.fit(X, Y, verbose=0)


def test_arrays_are_told_from_data_without_numbers():
    assert guards.as_arrays(DATASET) is None and guards.as_arrays(iter(X)) is None and guards.as_arrays(None) is None
    found = guards.as_arrays({"x": tf.constant(X[:2], "float64"), "ids": np.arange(2)})
    assert {name: (type(each), str(each.dtype)) for name, each in found.items()} == {
        "x": (np.ndarray, "float32"), "ids": (np.ndarray, "int64"),
    }  # fmt: skip
