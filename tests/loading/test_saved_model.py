"""SavedModel folders become Keras models that compute the same; damaged folders are refused."""

import shutil

import keras
import numpy as np
import pytest

import tfopt


def test_saved_model_with_several_inputs_and_outputs(tmp_path):
    first, second = keras.Input((3,), name="first"), keras.Input((2,), name="second")
    model = keras.Model([second, first], [keras.layers.Dense(2)(first), keras.layers.Dense(4)(second)])
    model.export(tmp_path / "saved", verbose=False)
    loaded = tfopt.load(tmp_path / "saved")
    arrays = {"first": np.ones((5, 3), "float32"), "second": np.ones((5, 2), "float32")}
    expected = model([arrays["second"], arrays["first"]])
    for output, wanted in zip(loaded(arrays).values(), expected, strict=True):
        np.testing.assert_allclose(output, wanted, atol=1e-6)


def test_truncated_saved_model_is_refused(model_files, tmp_path):
    shutil.copytree(model_files / "saved_model", tmp_path / "saved")
    graph = tmp_path / "saved" / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(tfopt.LoadError, match="Received: .*saved"):
        tfopt.load(tmp_path / "saved")
