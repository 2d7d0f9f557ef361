"""Graphs that cannot be followed from their inputs are refused."""

import pytest
from h5_files import layer, write

import tfopt


def test_a_graph_that_turns_in_circles_is_refused(tmp_path, random):
    source = layer("InputLayer", "in", batch_input_shape=[None, 3]) | {"name": "in", "inbound_nodes": []}
    first = layer("Activation", "a", activation="relu") | {"name": "a", "inbound_nodes": [[["b", 0, 0, {}]]]}
    second = layer("Activation", "b", activation="relu") | {"name": "b", "inbound_nodes": [[["a", 0, 0, {}]]]}
    graph = {"name": "m", "layers": [source, first, second], "input_layers": [["in", 0, 0]], "output_layers": [["b", 0, 0]]}
    path = write(tmp_path / "ring.h5", {"class_name": "Model", "config": graph}, {}, keras_version="2.2.4")
    with pytest.raises(tfopt.LoadError, match="cannot be reached from the inputs"):
        tfopt.load(path)


def test_a_layer_that_was_never_called_feeds_nobody(tmp_path):
    source = layer("InputLayer", "in", batch_input_shape=[None, 3]) | {"name": "in", "inbound_nodes": []}
    first = layer("Activation", "a", activation="relu") | {"name": "a", "inbound_nodes": {}}
    second = layer("Activation", "b", activation="relu") | {"name": "b", "inbound_nodes": [[["a", 0, 0, {}]]]}
    graph = {"name": "m", "layers": [source, first, second], "input_layers": [["in", 0, 0]], "output_layers": [["b", 0, 0]]}
    path = write(tmp_path / "loose.h5", {"class_name": "Model", "config": graph}, {}, keras_version="2.2.4")
    with pytest.raises(tfopt.LoadError, match="cannot be reached from the inputs"):
        tfopt.load(path)


@pytest.mark.parametrize("index", [float("nan"), float("inf"), None, 7, -1], ids=str)
@pytest.mark.parametrize("position", [1, 2], ids=["node", "tensor"])
def test_a_graph_with_a_lost_tensor_is_refused(tmp_path, index, position):
    reference = ["in", 0, 0, {}]
    reference[position] = index
    source = layer("InputLayer", "in", batch_input_shape=[None, 3]) | {"name": "in", "inbound_nodes": []}
    first = layer("Activation", "a", activation="relu") | {"name": "a", "inbound_nodes": [[reference]]}
    graph = {"name": "m", "layers": [source, first], "input_layers": [["in", 0, 0]], "output_layers": [["a", 0, 0]]}
    path = write(tmp_path / "lost.h5", {"class_name": "Model", "config": graph}, {}, keras_version="2.2.4")
    with pytest.raises(tfopt.LoadError, match="damaged configuration"):
        tfopt.load(path)
