"""Which kind of quantization a file has, and which layer a tensor's name points to."""

import pytest

from tfopt.tflite import op_audit


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
def test_layer_of(tensor, layer):
    assert op_audit.layer_of(tensor, {"conv2d", "dense_1", "block_2_project"}) == layer


def test_no_names_no_layer():
    assert op_audit.layer_of("model/dense/MatMul", ()) == ""
