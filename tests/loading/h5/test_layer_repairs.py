"""Layers that need something that no file and no Keras has are named; what only training needs is left out."""

import numpy as np
import pytest
from h5_files import layer, write

import tfopt
from tfopt.loading.load import load_file
from tfopt.loading.options import LoadOptions


@pytest.mark.parametrize(
    "node, words",
    [
        (layer("BatchNormalization", "odd", mode=2), "odd.*normalizes with mode=2"),
        (layer("Merge", "odd", mode="cos"), "odd.*merges with 'cos'"),
        (layer("SReLU", "odd"), "'odd' needs 'SReLU'"),
        (layer("Activation", "odd", activation="my_swish"), "'odd' has the activation 'my_swish'.*def my_swish"),
    ],
    ids=["batch statistics", "cosine", "SReLU", "activation"],
)
def test_what_no_later_keras_has_is_asked_for(tmp_path, random, node, words):
    layers = [layer("Dense", "d", batch_input_shape=[None, 4], output_dim=3, init="one"), node]
    path = write(tmp_path / "odd.h5", layers, {"d": [("d_W:0", random(4, 3)), ("d_b:0", random(3))]}, keras_version="1.2.0")
    with pytest.raises(tfopt.LoadError, match=f"(?s){words}"):
        tfopt.load(path)


def test_parts_of_training_are_not_needed(tmp_path, random):
    node = layer("Dense", "d", batch_input_shape=[None, 4], units=3, kernel_initializer={"class_name": "Mine", "config": {}},
                 kernel_regularizer={"class_name": "Ours", "config": {}})  # fmt: skip
    kernel, bias = random(4, 3), random(3)
    path = write(tmp_path / "mine.h5", [node], {"d": [("k:0", kernel), ("b:0", bias)]}, keras_version="2.1.6")
    model, steps = load_file(path, LoadOptions()).verified()
    np.testing.assert_allclose(model(np.eye(4, dtype="float32")), kernel + bias, atol=1e-6)
    assert [step for step in steps if "left out the kernel_" in step and ("'Mine'" in step or "'Ours'" in step)]
