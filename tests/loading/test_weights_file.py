"""Files that hold only weights: the function that builds the model is asked for, and every weight arrives."""

import keras
import numpy as np
import pytest
import tf_keras

import tfopt
from tfopt.loading.load import load_file
from tfopt.loading.options import LoadOptions


def build(library):
    layers = library.layers
    return library.Sequential([layers.InputLayer((4,)), layers.Dense(3), layers.Dense(2)])


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["Keras 3", "Keras 2"])
@pytest.mark.parametrize("name", ["some.weights.h5", "plain.h5"])
def test_weights_arrive(architectures, library, name):
    original = build(library)
    if library is keras and name == "plain.h5":
        original.save(architectures / name)  # the old layout, with an architecture that is not used
    else:
        original.save_weights(architectures / name)
    module = "my_new_models" if library is keras else "my_old_models"
    x = np.ones((2, 4), "float32")
    for architecture in (f"{module}:build", str(architectures / f"{module}.py:build"), lambda: build(library)):
        model, steps = load_file(architectures / name, LoadOptions(architecture=architecture)).verified()
        np.testing.assert_allclose(model(x), original(x), atol=1e-6)
        assert steps[-1] == "verified: 4 of 4 weights assigned once"


@pytest.mark.parametrize("architecture, words", [("my_wide_models:build", "shape"), ("my_new_models:unbuilt", "that is built")])
@pytest.mark.parametrize("name", ["some.weights.h5", "plain.h5"])
def test_an_architecture_that_does_not_fit_is_one_clear_error(architectures, architecture, words, name):
    (build(keras) if name.startswith("some") else build(tf_keras)).save_weights(architectures / name)
    with pytest.raises(tfopt.LoadError, match=f"(?s){words}") as caught:
        tfopt.load(architectures / name, architecture=architecture)
    assert not isinstance(caught.value, tfopt.UnsafeModelError)


def test_too_few_layers(tmp_path):
    build(tf_keras).save_weights(tmp_path / "plain.h5")
    one = tf_keras.Sequential([tf_keras.layers.Dense(3, input_shape=(4,))])
    with pytest.raises(tfopt.LoadError, match="as many layers with weights as the file"):
        tfopt.load(tmp_path / "plain.h5", architecture=lambda: one)


def test_an_archive_has_its_own_architecture(tmp_path):
    build(keras).save(tmp_path / "model.keras")
    with pytest.raises(tfopt.LoadError, match="`architecture` belongs to an HDF5 file"):
        tfopt.load(tmp_path / "model.keras", architecture=lambda: build(keras))
