"""Layers of Keras 1 compute the same in Keras 2."""

import numpy as np
import pytest
from h5_files import layer, write

import tfopt
from tfopt.loading.load import load_file
from tfopt.loading.options import LoadOptions


@pytest.mark.parametrize("suffix", ["", ":0"], ids=["Theano", "TensorFlow"])
def test_keras_1_with_theanos_ordering(tmp_path, random, suffix):
    kernel, bias, dense, offset = random(5, 3, 3, 3), random(5), random(45, 4), random(4)
    gamma, beta, mean, variance = random(5), random(5), random(5), np.abs(random(5)) + 0.5
    layers = [
        layer("Convolution2D", "c", batch_input_shape=[None, 3, 8, 8], input_dtype="float32", nb_filter=5, nb_row=3, nb_col=3,
              init="he_normal", activation="relu", border_mode="valid", subsample=[1, 1], dim_ordering="th", bias=True,
              W_regularizer={"name": "WeightRegularizer", "l1": 0.0, "l2": 0.1}),
        layer("BatchNormalization", "n", mode=0, axis=1, epsilon=1e-5, momentum=0.9),
        layer("MaxPooling2D", "p", pool_size=[2, 2], border_mode="valid", strides=[2, 2], dim_ordering="th"),
        layer("Dropout", "r", p=0.5),
        layer("Flatten", "f"),
        layer("Dense", "d", output_dim=4, init="uniform", activation="linear", input_dim=45),
    ]  # fmt: skip
    weights = {
        "c": [("c_W", kernel), ("c_b", bias)],
        "n": [("n_gamma", gamma), ("n_beta", beta), ("n_running_mean", mean), ("n_running_std", variance)],
        "p": [],
        "d": [("d_W", dense), ("d_b", offset)],
    }
    weights = {name: [(key + suffix, array) for key, array in arrays] for name, arrays in weights.items()}
    x = random(2, 3, 8, 8)
    seen = kernel if suffix else kernel[:, :, ::-1, ::-1]  # Theano convolves, TensorFlow correlates
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    column = (1, 5, 1, 1)
    y = np.maximum(np.einsum("bchwij,fcij->bfhw", windows, seen) + bias.reshape(column), 0)
    y = (y - mean.reshape(column)) / np.sqrt(variance.reshape(column) + 1e-5) * gamma.reshape(column) + beta.reshape(column)
    expected = y.reshape(2, 5, 3, 2, 3, 2).max((3, 5)).reshape(2, -1) @ dense + offset
    model, steps = load_file(write(tmp_path / "th.h5", layers, weights), LoadOptions()).verified()
    np.testing.assert_allclose(model(x), expected, atol=1e-5)
    assert "repaired: c: Conv2D with channels first runs with channels last, between two Permute layers" in steps


@pytest.mark.parametrize(
    "padding",
    [[1, 2], [1, 0, 2, 1], {"top_pad": 1, "bottom_pad": 0, "left_pad": 2, "right_pad": 1}],
    ids=["symmetric", "in a row", "named"],
)
def test_keras_1_padding(tmp_path, random, padding):
    layers = [
        layer("ZeroPadding2D", "z", batch_input_shape=[None, 4, 4, 2], input_dtype="float32", padding=padding, dim_ordering="tf")
    ]
    sides = ((1, 1), (2, 2)) if padding == [1, 2] else ((1, 0), (2, 1))
    x = random(1, 4, 4, 2)
    model = tfopt.load(write(tmp_path / "z.h5", layers, {"z": []}, keras_version="1.2.1"))
    np.testing.assert_array_equal(model(x), np.pad(x, ((0, 0), *sides, (0, 0))))
