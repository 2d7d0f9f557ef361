"""`sparsity_report()` counts, and says what zeros do not bring."""

import gzip

import keras
import numpy as np
from keras import layers

import tfopt


def test_report():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((64,)), layers.Dense(64, name="a"), layers.Dense(8, name="b")])
    kernel = model.get_layer("b").kernel
    kernel.assign(np.where(np.arange(8) < 3, 0, kernel.numpy()))
    dense, report = tfopt.sparsity_report(model), tfopt.sparsity_report(tfopt.prune(model, 0.9, include="a"))
    first, second = report.weights
    assert (first.name, first.layer_class, first.shape, first.parameters) == ("a/kernel", "Dense", (64, 64), 4096)
    assert first.zeros == 4096 - round(4096 * 0.1) and second.zeros == 3 * 64 and second.zero_outputs == 3
    assert report.sparsity == (first.zeros + second.zeros) / (4096 + 512)
    assert report.parameters == model.count_params()
    assert report.int8_bytes == dense.int8_bytes == 4096 + 512  # zeros are stored
    assert report.int8_gzip_bytes < 0.45 * dense.int8_gzip_bytes
    lines = str(report).splitlines()
    assert lines[0].split() == ["weight", "class", "shape", "parameters", "zeros"]
    assert lines[1].split() == ["a/kernel", "Dense", "64", "x", "64", "4,096", "89.99", "%"]
    assert lines[3].split() == ["all", "4,608", *f"{100 * report.sparsity:.2f} %".split()]
    assert "none of these zeros makes it faster" in lines[-2]
    assert lines[-1] == "3 output channels are zero as a whole: 3 of b. A model without them would be smaller and faster."
    page = report._repr_html_()
    assert (
        "<td>a/kernel</td><td>Dense</td><td>64 x 64</td><td>4,096</td><td>89.99 %</td>" in page
        and f"<div>{lines[-1]}</div>" in page
    )
    assert repr(report) == f"SparsityReport(84.16 % zeros in 2 weights, int8 4,608 B, in gzip {report.int8_gzip_bytes:,} B)"


def test_gzip_is_of_the_int8_values():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, use_bias=False)])
    model.layers[0].kernel.assign([[1, 0], [0.5, -2], [0, 1], [-1, 0]])
    expected = np.array([[127, 0], [64, -127], [0, 64], [-127, 0]], "int8").tobytes()
    assert tfopt.sparsity_report(model).int8_gzip_bytes == len(gzip.compress(expected, mtime=0))


def test_output_channels_that_are_zero():
    model = keras.Sequential([keras.Input((4, 4, 3)), layers.Conv2DTranspose(5, 3), layers.DepthwiseConv2D(2), layers.Conv2D(4, 2)])
    for layer, channels in zip(model.layers, [np.s_[:, :, 0], np.s_[:, :, 1:3], np.s_[..., 0:3]], strict=True):
        value = layer.kernel.numpy()
        value[channels] = 0
        layer.kernel.assign(value)
    assert [weight.zero_outputs for weight in tfopt.sparsity_report(model).weights] == [1, 2, 3]
    heads = layers.MultiHeadAttention(2, 4, name="heads")
    heads.build((None, 3, 8), (None, 3, 8))
    heads._query_dense.kernel.assign(np.concatenate([np.zeros((8, 1, 4)), np.ones((8, 1, 4))], axis=1))
    assert tfopt.sparsity_report(heads).weights[0].zero_outputs == 4  # one head of two
