"""The answers of a teacher are computed once, and training with them is training without."""

import keras
import numpy as np
import pytest
from small_distillers import X, Y, distiller, every_loss, flat, net

import tfopt
from tfopt.distillation import cache as caching


def train_with(cache):
    """(history, weights of the student) after a fit with every loss."""
    made = distiller(distillation_losses=every_loss(), cache=cache)
    keras.utils.set_random_seed(3)
    history = made.fit(X, Y, epochs=2, verbose=0, validation_split=0.25, class_weight={0: 2.0, 1: 1.0, 2: 1.0, 3: 1.0}).history
    return history, flat(made.student.weights)


@pytest.fixture(scope="module")
def without_cache():
    return train_with(None)


@pytest.mark.parametrize("place", [pytest.param("memory", marks=pytest.mark.slow), "folder"])
def test_a_cache_changes_nothing_but_the_work(place, tmp_path, monkeypatch, without_cache):
    history, weights = train_with("memory" if place == "memory" else tmp_path / "taught")
    for name, values in without_cache[0].items():
        np.testing.assert_allclose(history[name], values, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(weights, without_cache[1], atol=1e-5)
    if place == "folder":
        (kept,) = (tmp_path / "taught").iterdir()
        assert {file.name for file in kept.iterdir()} == {"output_0.npy", "feature_0.npy", "feature_1.npy"}
        monkeypatch.setattr("tfopt.distillation.cache._ask", lambda *_: pytest.fail("the teacher is asked again"))
        again = distiller(distillation_losses=every_loss(), cache=tmp_path / "taught")
        again.fit(X[:72], Y[:72], epochs=1, verbose=0)


def test_a_cache_is_that_of_these_data_and_this_teacher(tmp_path):
    made = distiller(cache=tmp_path)
    made.fit(X[:32], Y[:32], verbose=0)
    made.fit(X[32:64], Y[32:64], verbose=0)
    made.teacher.get_layer("class").bias.assign([1, 0, 0, 0])
    made.fit(X[:32], Y[:32], verbose=0)
    assert len(list(tmp_path.iterdir())) == 3


class TwoLayers(keras.Model):
    """A subclassed teacher, whose code its configuration does not tell."""

    def __init__(self, order=(0, 1), factor=1.0, act=None, **kwargs):
        super().__init__(**kwargs)
        self.flat = keras.layers.Flatten()
        self.inner = [keras.layers.Dense(192, kernel_initializer=keras.initializers.RandomNormal(0.01, seed=s)) for s in (0, 1)]
        self.out = keras.layers.Dense(4, kernel_initializer=keras.initializers.RandomNormal(0.1, seed=2))
        self.order, self.factor, self.act = order, factor, act or keras.ops.tanh
        for layer in self.inner:
            layer.build((None, 192))

    def call(self, x):
        x = self.flat(x)
        for number in self.order:
            x = self.act(self.inner[number](x))
        return self.factor * self.out(x)


def folders_of(teachers, folder):
    """The number of folders that fits with these teachers leave, and the loss of each fit."""
    losses = []
    for teacher in teachers:
        made = distiller(teacher=teacher, cache=folder, student_loss_weight=0, optimizer="sgd")
        losses.append(made.fit(X[:32], Y[:32], verbose=0, batch_size=32, shuffle=False).history["logits_distillation"][0])
    return len(list(folder.iterdir())), losses


def test_a_teacher_that_computes_something_else_is_asked_again(tmp_path):
    teacher = net(12, "teacher")
    folders_of([teacher], tmp_path)
    teacher.get_layer("relu").negative_slope = 0.3  # the same weights and names
    teacher.get_layer("class").activation = keras.activations.tanh
    count, (cached,) = folders_of([teacher], tmp_path)
    made = distiller(teacher=teacher, student_loss_weight=0, optimizer="sgd")
    expected = made.fit(X[:32], Y[:32], verbose=0, batch_size=32, shuffle=False).history["logits_distillation"][0]
    assert count == 2 and cached == pytest.approx(expected, rel=1e-5)


def test_the_code_of_a_subclassed_teacher_counts(tmp_path):
    variants = [{}, {"order": (1, 0)}, {"factor": 2.0}, {"act": keras.ops.sin}, {}]
    count, losses = folders_of([TwoLayers(**options) for options in variants], tmp_path)
    assert count == len(set(losses)) == 4 and losses[0] == losses[-1]


@pytest.mark.parametrize("nested", [False, True], ids=["functional", "nested"])
def test_a_teacher_that_is_built_again_is_the_same(tmp_path, nested):
    def built():
        keras.utils.set_random_seed(7)
        image = keras.Input((8, 8, 3))
        x = keras.layers.Dropout(0.5)(keras.layers.Conv2D(4, 3, activation="gelu")(image))
        x = keras.layers.Dense(4)(keras.layers.LSTM(8)(keras.layers.Reshape((36, 4))(x)))
        made = keras.Model(image, x)
        return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Rescaling(0.5), made]) if nested else made

    first, second = built(), built()
    assert first.layers[1].name != second.layers[1].name
    assert folders_of([first, second], tmp_path)[0] == 1


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(tfopt.OutputError, match="`cache` must be a folder"):
        distiller(cache=tmp_path / "file").fit(X, Y, verbose=0)


def test_answers_are_packed_and_unpacked():
    outputs, features = {"a": np.zeros(2), "b": np.ones(3)}, {"second": np.full(1, 2), "first": np.full(1, 1)}
    answers = caching.pack(outputs, features)
    assert caching.split({"tfopt_inputs": X, "tfopt_answers": answers}) == (X, answers)
    assert caching.split(X) == (X, None)
    found_outputs, found_features = caching.unpack(answers, ["second", "first"])
    assert [len(each) for each in found_outputs] == [2, 3] and {name: each[0] for name, each in found_features.items()} == {
        "first": 1, "second": 2,
    }  # fmt: skip


@pytest.mark.parametrize("labels", [[0, 2, 1], [[0], [2], [1]], np.eye(3)[[0, 2, 1]]], ids=["ids", "column", "one-hot"])
def test_class_weights_become_sample_weights(labels):
    for given in ([1.0, 1.0, 0.5], [[1.0], [1.0], [0.5]]):
        weights = caching._class_weights(labels, {0: 2.0, 1: 3.0}, given)
        np.testing.assert_array_equal(weights, [2.0, 1.0, 1.5])
