"""Layers with channels first compute the same with channels last."""

import json

import numpy as np
import pytest
import tf_keras
from h5_files import write

import tfopt

_FIRST = {2: ((0, 2, 3, 1), (0, 3, 1, 2)), 1: ((0, 2, 1), (0, 2, 1)), 3: ((0, 2, 3, 4, 1), (0, 4, 1, 2, 3))}


@pytest.mark.parametrize(
    "build, rank",
    [
        (lambda layers, **more: layers.Conv2D(4, 3, strides=2, padding="same", **more), 2),
        (lambda layers, **more: layers.DepthwiseConv2D(3, **more), 2),
        (lambda layers, **more: layers.Conv2DTranspose(4, 3, strides=2, **more), 2),
        (lambda layers, **more: layers.ZeroPadding2D(((1, 0), (2, 1)), **more), 2),
        (lambda layers, **more: layers.GlobalMaxPooling2D(**more), 2),
        (lambda layers, **more: layers.Conv1D(4, 3, **more), 1),
        (lambda layers, **more: layers.Conv3D(4, 3, **more), 3),
    ],
    ids=["Conv2D", "Depthwise", "Transpose", "ZeroPadding", "GlobalMaxPooling", "Conv1D", "Conv3D"],
)
def test_channels_first_computes_the_same(tmp_path, random, build, rank):
    there, back = _FIRST[rank]
    sizes = (6, 7, 8)[:rank]
    original = tf_keras.Sequential([build(tf_keras.layers, input_shape=(*sizes, 3), data_format="channels_last", name="it")])
    arrays = [random(*array.shape) for array in original.get_weights()]
    original.set_weights(arrays)
    first = tf_keras.Sequential([build(tf_keras.layers, input_shape=(3, *sizes), data_format="channels_first", name="it")])
    weights = {"it": [(f"w{index}:0", array) for index, array in enumerate(arrays)]}
    path = write(tmp_path / "first.h5", json.loads(first.to_json()), weights, keras_version="2.2.4", backend="tensorflow")
    x = random(2, 3, *sizes)
    expected = original(x.transpose(there)).numpy()
    expected = expected.transpose(back) if expected.ndim > 2 else expected
    np.testing.assert_allclose(tfopt.load(path)(x), expected, atol=1e-5)
