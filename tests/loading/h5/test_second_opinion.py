"""Keras 3 is asked about files of Keras 2 where it can answer."""

import re

import pytest
from h5_files import layer, write
from legacy_models import FOLDER

from tfopt.loading.load import load_with_steps
from tfopt.loading.options import LoadOptions


def test_a_file_that_keras_3_would_read_wrong_and_one_that_it_reads_right():
    _, steps = load_with_steps(FOLDER / "tf-2.15.1" / "activations.h5", LoadOptions())
    assert steps[0].startswith("read with tf_keras") and steps[0].endswith("written by Keras 2.15.0")
    assert re.search("12 of 12|8 of 8|weights assigned once; Keras 3 would read it wrong", steps[-1])
    _, steps = load_with_steps(FOLDER / "tf-2.15.1" / "cnn.h5", LoadOptions())
    assert "Keras 3 gives the same outputs" in steps[-1]


@pytest.mark.parametrize("config", [{}, {"batch_input_shape": [None, 1 << 14, 1 << 14]}], ids=["no shape", "too large"])
def test_unsuitable_inputs_are_not_compared(tmp_path, config):
    source = {**layer("InputLayer", "in", **config), "name": "in", "inbound_nodes": []}
    relu = {**layer("Activation", "relu", activation="relu"), "name": "relu", "inbound_nodes": [[["in", 0, 0, {}]]]}
    graph = {"name": "m", "layers": [source, relu], "input_layers": [["in", 0, 0]], "output_layers": [["relu", 0, 0]]}
    path = write(tmp_path / "open.h5", {"class_name": "Model", "config": graph}, {}, keras_version="2.2.4")
    _, steps = load_with_steps(path, LoadOptions())
    assert steps[-1].endswith("not compared with Keras 3: the inputs have no known shape, are too large or are not numbers")
