"""Every weight of the file arrives in the model, or the file is refused."""

import h5py
import keras
import numpy as np
import pytest
import tf_keras

import tfopt


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["Keras 3", "Keras 2"])
def test_layers_that_compute_with_what_follows_from_their_weights(tmp_path, random, library):
    normalization = library.layers.Normalization()
    normalization.adapt(3 * random(50, 4) + 2)
    original = library.Sequential([library.Input((4,)), normalization, library.layers.Dense(2)])
    original.save(tmp_path / "normalization.h5")
    x = random(3, 4)
    np.testing.assert_allclose(tfopt.load(tmp_path / "normalization.h5")(x), original(x), atol=1e-5)


def _edit_names(group, key, edit):
    names = list(group.attrs[key])
    group.attrs[key] = edit(names)


def _add_group(root):
    root.create_group("three")["k"] = np.ones(3)
    root["three"].attrs["weight_names"] = [b"k"]
    _edit_names(root, "layer_names", lambda names: [*names, "three"])


def _reshape(root):
    name = root["two"].attrs["weight_names"][0]
    del root["two"][name]
    root["two"][name] = np.ones((2, 3))


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda root: _edit_names(root, "layer_names", lambda names: names[:1]), "no weights of layer 'two'"),
        (_add_group, r"weights of the layers \['three'\]"),
        (lambda root: _edit_names(root["two"], "weight_names", lambda names: names[:1]), "1 weights of layer 'two', which has 2"),
        (_reshape, r"shape \(2, 3\) for 'two' \(Dense\), whose .* has the shape \(3, 2\)"),
        (lambda root: root["two"].attrs.__delitem__("weight_names"), "attribute 'weight_names' is missing"),
    ],
    ids=["missing", "surplus", "too few", "shape", "no names"],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, damage, words):
    layers = tf_keras.layers
    tf_keras.Sequential([layers.Dense(3, input_shape=(4,), name="one"), layers.Dense(2, name="two")]).save(tmp_path / "two.h5")
    with h5py.File(tmp_path / "two.h5", "r+") as file:
        damage(file["model_weights"])
    with pytest.raises(tfopt.LoadError, match=words):
        tfopt.load(tmp_path / "two.h5")
