"""Which layers the name of a tensor mentions."""

import pytest

from tfopt.tflite.layer_names import LayerNames

LAYERS = {"conv2d", "dense_1", "block_2_project"}


@pytest.mark.parametrize(
    ("tensor", "layer"),
    [
        ("model_1/conv2d_1/Relu;model_1/bn_1/add;model_1/conv2d_1/Conv2D", "conv2d"),
        ("model/dense_1/MatMul", "dense_1"),
        ("functional_3/block_1/dense_1_1/Add", "dense_1"),
        ("model_1/block_2_project/Conv2D", "block_2_project"),
        ("StatefulPartitionedCall:0", ""),
        ("", ""),
    ],
)
def test_writer(tensor, layer):
    assert LayerNames(LAYERS, [tensor]).writer(tensor) == layer


def test_no_names_no_layer():
    assert LayerNames((), ["model/dense/MatMul"]).writer("model/dense/MatMul") == ""


def test_the_ending_of_most_layers_decides():
    """A second trace gives every scope the ending `_1`: `dense_1` is then the scope of `dense`."""
    first = ["model/dense/MatMul", "model/dense_1/MatMul"]
    second = ["model_1/dense_1/MatMul", "model_1/dense_1_1/MatMul"]
    for names in (first, second):
        found = LayerNames({"dense", "dense_1"}, names)
        assert [found.writer(name) for name in names] == ["dense", "dense_1"]


def test_fused_layers_are_mentioned_too():
    name = "net/norm/add;net/conv/Conv2D"
    assert LayerNames({"norm", "conv"}, [name]).mentioned(name) == ["norm", "conv"]
