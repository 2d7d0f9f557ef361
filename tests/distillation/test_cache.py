"""The answers of a teacher are computed once, and training with them is training without."""

import keras
import numpy as np
import pytest
from small_distillers import X, Y, distiller, every_loss, flat

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


@pytest.mark.parametrize("place", ["memory", "folder"])
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
    weights = caching._class_weights(labels, {0: 2.0, 1: 3.0}, [1.0, 1.0, 0.5])
    np.testing.assert_array_equal(weights, [2.0, 1.0, 1.5])
