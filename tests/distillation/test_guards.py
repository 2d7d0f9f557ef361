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


def numbers_of(count):
    return [keras.Input((size,), name=name) for size, name in [(6, "a"), (5, "b"), (6, "c")][:count]]


def dense_of(inputs, structure="list"):
    """A model of flat inputs, in a list, a dict or alone."""
    joined = layers.Concatenate()(inputs) if len(inputs) > 1 else inputs[0]
    taken = {"one": lambda: inputs[0], "list": lambda: inputs, "dict": lambda: {each.name: each for each in inputs}}
    return keras.Model(taken[structure](), layers.Dense(4)(joined))


def image_net(size, channels=1):
    return keras.Sequential([keras.Input((size, size, channels)), layers.Flatten(), layers.Dense(4)])


OTHER_INPUTS = {
    "one of two in a dict": lambda: (dense_of(numbers_of(1), "one"), dense_of(numbers_of(2), "dict")),
    "one of two in a list": lambda: (dense_of(numbers_of(1), "one"), dense_of(numbers_of(2), "list")),
    "the third by its name": lambda: (dense_of(numbers_of(3)[2:], "one"), dense_of(numbers_of(3), "dict")),
    "two of three": lambda: (dense_of(numbers_of(3)[1:], "list"), dense_of(numbers_of(3), "list")),
    "a teacher of one": lambda: (dense_of(numbers_of(2), "dict"), dense_of(numbers_of(1), "one")),
    "larger images": lambda: (image_net(8), image_net(16)),
    "smaller images": lambda: (image_net(16), image_net(8)),
}


@pytest.mark.parametrize("case", OTHER_INPUTS)
def test_the_way_out_of_other_inputs_trains_the_models(case):
    student, teacher = OTHER_INPUTS[case]()
    with pytest.raises(tfopt.ArgumentError, match="same inputs.*Wrap one model") as caught:
        tfopt.Distiller(student=student, teacher=teacher)
    names = {"keras": keras, "tfopt": tfopt, "student": student, "teacher": teacher}
    exec(str(caught.value).partition("takes:\n")[2], names)
    made, more = names["distiller"], student if len(student.inputs) > len(teacher.inputs) else teacher
    more = student if "images" in case else more
    rng = np.random.default_rng(0)
    x = keras.tree.map_structure(lambda each: rng.normal(size=(16, *each.shape[1:])), guards.inputs_of(more))
    before = [weight.numpy() for weight in student.weights]
    made.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    made.fit(x, np.zeros(16), verbose=0)
    assert all((weight.numpy() != value).any() for weight, value in zip(student.weights, before, strict=True))
    if "third" in case:
        np.testing.assert_allclose(made.predict(x, verbose=0), student.predict(x["c"], verbose=0), rtol=1e-5)


def test_inputs_without_a_known_way_out():
    with pytest.raises(tfopt.ArgumentError, match=r"same inputs.*and passes on what its own layers need\.$"):
        tfopt.Distiller(student=image_net(8), teacher=image_net(8, channels=3))
