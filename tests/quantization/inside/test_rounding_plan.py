"""`plan`: which outputs of a graph are tensors of the int8 file."""

import numpy as np
import pytest
import tensorflow as tf

from tfopt.quantization.inside.rounding_plan import Seen, plan

VECTOR = tf.constant(np.arange(1.0, 9.0, dtype="float32"))
KERNEL = tf.constant(np.ones((8, 8), "float32"))


def planned(function):
    """Types of the operations of a function of x, (4, 8), whose outputs are rounded, in their order."""
    graph = tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec((4, 8))).graph
    seen = [
        Seen(operation.name, operation) for operation in graph.get_operations() if operation.type not in ("Placeholder", "NoOp")
    ]
    found = plan(seen)
    return [each.operation.type for each in seen if each.key in found and each.operation.type != "Identity"]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: tf.sqrt(x * 2.0 + 1.0) * 0.5, ["Mul"]),
        (lambda x: 0.5 * x * (1.0 + tf.math.erf(x * 0.7)), ["Mul"]),
        (lambda x: tf.reduce_mean(x * x, -1), ["Mul", "Mean"]),
        (lambda x: tf.square(x) * tf.reduce_max(x, -1, keepdims=True), ["Square", "Mul"]),
        (lambda x: tf.matmul(x, KERNEL) + VECTOR, ["AddV2"]),
        (lambda x: tf.nn.relu(tf.matmul(x, KERNEL) + VECTOR), ["Relu"]),
        (lambda x: tf.nn.relu(x + x[::-1]), ["Relu"]),
        (lambda x: tf.square(tf.nn.relu(x + x[::-1])) + x, ["Relu", "Square", "AddV2"]),
        (lambda x: tf.matmul(x, x, transpose_b=True) * 0.5, ["MatMul", "Mul"]),
        (lambda x: tf.nn.softmax(x + tf.constant(-1e9) * (1.0 - x)), ["Softmax"]),
        (lambda x: tf.minimum(tf.maximum(x, -1e9), 7.0) * tf.reverse(x, [-1]), ["Minimum", "Mul"]),
        (lambda x: tf.reshape(tf.transpose(x), (2, 16)), []),
        (lambda x: tf.concat([x, -x], -1), ["Neg", "ConcatV2"]),
    ],
    ids=[
        "chain", "gelu", "mean square", "two readers", "bias", "bias and ReLU", "sum and ReLU", "after a ReLU",
        "product and factor", "masked", "clipped on one side", "moved", "joined",
    ],
)  # fmt: skip
def test_operations_of_the_file(function, expected):
    assert planned(function) == expected


def test_a_vector_of_factors_is_a_constant_of_the_file():
    assert planned(lambda x: x * (VECTOR + 1.0)) == ["AddV2", "Mul"]
    assert planned(lambda x: tf.matmul(x, KERNEL * 2.0) + VECTOR * 2.0) == ["AddV2"]
