"""Weights without an architecture: the function that builds the model is given, checked, and filled."""

import keras
import numpy as np
import pytest
import tf_keras

import tfopt
from tfopt.loading.load import load_with_steps
from tfopt.loading.options import LoadOptions

SOURCE = """
import {keras} as keras

def build():
    return keras.Sequential([keras.layers.InputLayer((4,)), keras.layers.Dense(3), keras.layers.Dense({units})])

def fails():
    raise RuntimeError("no luck")

def unbuilt():
    return keras.Sequential([keras.layers.Dense(3)])

def nothing():
    return 7
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_new_models.py").write_text(SOURCE.format(keras="keras", units=2))
    (tmp_path / "my_old_models.py").write_text(SOURCE.format(keras="tf_keras", units=2))
    (tmp_path / "my_wide_models.py").write_text(SOURCE.format(keras="keras", units=5))
    return tmp_path


def build(library):
    layers = library.layers
    return library.Sequential([layers.InputLayer((4,)), layers.Dense(3), layers.Dense(2)])


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["Keras 3", "Keras 2"])
@pytest.mark.parametrize("name", ["some.weights.h5", "plain.h5"])
def test_weights_arrive(folder, library, name):
    original = build(library)
    if library is keras and name == "plain.h5":
        original.save(folder / name)  # the old layout, with an architecture that is not asked
    else:
        original.save_weights(folder / name)
    module = "my_new_models" if library is keras else "my_old_models"
    x = np.ones((2, 4), "float32")
    for architecture in (f"{module}:build", str(folder / f"{module}.py:build"), lambda: build(library)):
        model, steps = load_with_steps(folder / name, LoadOptions(architecture=architecture))
        np.testing.assert_allclose(model(x), original(x), atol=1e-6)
        assert steps[-1] == "verified: 4 of 4 weights assigned once"


@pytest.mark.parametrize(
    "architecture, words",
    [
        ("no_such_module:build", "module must be importable.*no_such_module"),
        ("nowhere.py:build", "file must exist"),
        ("my_new_models:no_such", "must have the function 'no_such'"),
        ("my_new_models:fails", "raised RuntimeError: no luck"),
        ("my_new_models:unbuilt", "must return a model that is built"),
        ("my_new_models:nothing", "must return a Keras model.*int"),
        ("my_wide_models:build", "shape"),
    ],
)
@pytest.mark.parametrize("name", ["some.weights.h5", "plain.h5"])
def test_what_does_not_fit_is_one_clear_error(folder, architecture, words, name):
    (build(keras) if name.startswith("some") else build(tf_keras)).save_weights(folder / name)
    with pytest.raises(tfopt.LoadError, match=f"(?s){words}") as caught:
        tfopt.load(folder / name, architecture=architecture)
    assert not isinstance(caught.value, tfopt.UnsafeModelError)


def test_too_few_layers(folder):
    build(tf_keras).save_weights(folder / "plain.h5")
    one = tf_keras.Sequential([tf_keras.layers.Dense(3, input_shape=(4,))])
    with pytest.raises(tfopt.LoadError, match="as many layers with weights as the file"):
        tfopt.load(folder / "plain.h5", architecture=lambda: one)


def test_the_command_line_takes_it(run_cli, tmp_path):
    (tmp_path / "my_models.py").write_text(SOURCE.format(keras="tf_keras", units=2))
    build(tf_keras).save_weights(tmp_path / "plain.h5")
    finished = run_cli("inspect", "plain.h5", "--architecture", "my_models:build", "--json")
    assert finished.returncode == 0, finished.stderr
    assert '"parameters": 23' in finished.stdout
    assert run_cli("inspect", "plain.h5").returncode == 2
