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


def test_scopes_tell_layers_of_one_name_apart():
    names = ["net_1/block_0_1/att_1/query_1/MatMul", "net_1/block_1_1/att_1/query_1/MatMul", "net_1/block_1_1/att_1/Softmax"]
    found = LayerNames({"block_0", "block_1", "block_0/att", "block_1/att", "block_0/att/query", "block_1/att/query"}, names)
    assert [found.writer(name) for name in names] == ["block_0/att/query", "block_1/att/query", "block_1/att"]
