"""Which layers the name of a tensor mentions."""

import pytest

from tfopt.tflite.layer_names import LayerNames, Scopes, without_calls

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


def test_an_output_with_the_name_of_its_layer_is_not_that_of_another():
    names = ["net/dense_1/MatMul", "dense_1"]
    assert [LayerNames({"dense", "dense_1"}, names).writer(name) for name in names] == ["dense", "dense_1"]


def test_the_scopes_of_the_trace_decide():
    scopes = Scopes(
        {"net/dense_1": "dense", "net/dense_1_2": "dense_1", "net/block": "block", "net/block/dense": "inner"},
        {"dense_1": "net/dense_1_2"},
    )
    names = {
        "net/dense_1/MatMul;StatefulPartitionedCall/net/dense_1/MatMul": "dense",
        "StatefulPartitionedCall_1/net/dense_1_2/MatMul": "dense_1",
        "dense_1": "dense_1",  # an output
        "net/block/dense/MatMul;net/dense_1/Relu": "inner",
        "net/block/add": "block",
        "net/tf.nn.relu/Relu": "tf.nn.relu",  # a layer whose calls the trace does not tell
        "other/dense_1/MatMul": "",
    }
    found = LayerNames({"dense", "dense_1", "block", "inner", "tf.nn.relu"}, names, scopes)
    assert found.knows_scopes and {name: found.writer(name) for name in names} == names
    assert found.scopes("net/block/dense/MatMul;net/dense_1/Relu") == ["net/block/dense", "net/dense_1"]


def test_a_file_of_another_trace_is_read_by_its_words():
    names = ["model/dense/MatMul", "model/dense_1/MatMul"]
    scopes = Scopes({"functional_1/dense_1": "dense", "functional_1/dense_1_2": "dense_1"})
    found = LayerNames({"dense", "dense_1"}, names, scopes)
    assert [found.writer(name) for name in names] == ["dense", "dense_1"] and not found.knows_scopes
    assert found.scopes(names[0]) == []


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("m/conv/Relu;StatefulPartitionedCall/m/conv/Relu;m/conv/add;StatefulPartitionedCall/m/conv/add", "m/conv/Relu;m/conv/add"),
        ("m/dense/MatMul;StatefulPartitionedCall/m/dense/MatMul1", "m/dense/MatMul1"),
        ("StatefulPartitionedCall_1/StatefulPartitionedCall/m/dense/MatMul", "m/dense/MatMul"),
        ("StatefulPartitionedCall:0", "StatefulPartitionedCall:0"),
        ("digit", "digit"),
        ("", ""),
    ],
)
def test_names_of_a_saved_model_are_those_of_the_model(name, short):
    assert without_calls(name) == short
