"""A part of a concatenation is read from the tensors that were joined, and a loop that replaces row after row has an end."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from seeded_models import largest_differences, measure, seeded, to_int8

from tfopt.lowering.operations.concatenations import CONCATENATIONS
from tfopt.lowering.operations.replay import replay


@keras.saving.register_keras_serializable("tests")
class Inverse(keras.layers.Layer):
    """`A + A^2 + A^3 + ...` of a strictly triangular matrix, row by row, as linear attention with a delta rule computes it.

    The slices of each row are those of the gated delta rule of Qwen3.5 (arXiv:2412.06464).
    """

    def __init__(self, size, **options):
        super().__init__(**options)
        self.size = size

    def call(self, x):
        ops, size = keras.ops, self.size
        matrix = ops.reshape(x, (-1, size, size)) * ops.tril(ops.ones((size, size)), -1) / size
        for row in range(1, size):
            more = ops.squeeze(ops.matmul(matrix[..., row : row + 1, :row], matrix[..., :row, :row]), axis=-2)
            new = matrix[..., row, :] + ops.pad(more, [[0, 0], [0, size - row]])
            parts = [matrix[..., :row, :], ops.expand_dims(new, -2), matrix[..., row + 1 :, :]]
            matrix = ops.concatenate(parts, axis=-2)
        return matrix

    def get_config(self):
        return {**super().get_config(), "size": self.size}


def model(size):
    return seeded(lambda k: k.Sequential([k.Input((size * size,)), Inverse(size)]), "keras3")


def replayed(compute, *shapes):
    """(outputs for ones and their multiples, the same after the rules, types of operations after them)."""
    tensors = [tf.reshape(tf.range(np.prod(shape), dtype=tf.float32), shape) + 100.0 * n for n, shape in enumerate(shapes)]
    signature = [tf.TensorSpec(shape) for shape in shapes]
    plain = tf.function(compute, input_signature=signature).get_concrete_function()
    rules = {kind: [rule] for each in CONCATENATIONS.values() for kind, rule in each.items()}
    new = tf.function(lambda *given: replay(plain, given, rules), input_signature=signature).get_concrete_function()
    (found,) = new(*tensors)
    return plain(*tensors).numpy(), found.numpy(), new


SLICES = {
    "a part": lambda a, b: tf.concat([a, b], 1)[:, :3],
    "within a part": lambda a, b: tf.concat([a, b], 1)[:, 4:6, 1:],
    "one place": lambda a, b: tf.concat([a, b], 1)[..., 5, :],
    "the last place": lambda a, b: tf.concat([a, b], -2)[:, -1],
    "two parts": lambda a, b: tf.concat([a, b, a], 1)[:, :7, :2],
    "parts of parts": lambda a, b: tf.concat([tf.concat([a, b], 1), a], 1)[:, 3:],
    "of a slice": lambda a, b: tf.concat([a[:, 1:], b], 1)[:, 1:2],
    "tf.slice": lambda a, b: tf.slice(tf.concat([a, b], 1), [0, 3, 0], [-1, 2, 1]),
}


@pytest.mark.parametrize("name", SLICES)
def test_a_slice_reads_the_joined_tensors(name):
    wanted, found, function = replayed(SLICES[name], (2, 3, 4), (2, 4, 4))
    np.testing.assert_array_equal(found, wanted)
    (output,) = function.graph.outputs
    source = output.op
    while source.type in ("Identity", "Squeeze", "Slice") and source.inputs[0].op.type != "Placeholder":
        source = source.inputs[0].op
    whole = 10 if name in ("two parts", "parts of parts") else 7
    assert source.type != "ConcatV2" or source.outputs[0].shape[1] < whole


LEFT = {
    "across a seam": lambda a, b: tf.concat([a, b], 1)[:, 2:5],
    "the whole": lambda a, b: tf.concat([a, b], 1)[:, :, :2],
    "every second": lambda a, b: tf.concat([a, b], 1)[:, ::2],
    "a new axis": lambda a, b: tf.concat([a, b], 1)[:, None, :3],
    "by data": lambda a, b: tf.concat([a, b], 1)[:, tf.cast(b[0, 0, 0] * 0, tf.int32) :],
}


@pytest.mark.parametrize("name", LEFT)
def test_other_slices_stay(name):
    wanted, found, function = replayed(LEFT[name], (2, 3, 4), (2, 4, 4))
    np.testing.assert_array_equal(found, wanted)
    last = [each for each in function.graph.get_operations() if each.type == "StridedSlice"][-1]
    assert last.inputs[0].op.type == "ConcatV2"


def test_a_loop_that_replaces_rows():
    net = model(8)
    assert max(largest_differences(net)) <= 1e-5
    float_ops, (decibel,) = measure(net, to_int8(net))
    assert not float_ops and decibel >= 30.0


@pytest.mark.slow
def test_a_long_loop_that_replaces_rows():
    net = model(64)  # the chunks of Qwen3.5; without the rule the quantizer has no end within minutes
    float_ops, (decibel,) = measure(net, to_int8(net))
    assert not float_ops and decibel >= 30.0


def test_a_slice_of_a_constant_from_outside_of_the_function():
    table = tf.constant(np.arange(12.0, dtype="float32").reshape(6, 2))  # as a table of positions that a layer holds

    @tf.function(input_signature=[tf.TensorSpec((4, 2))])
    def function(x):
        return x + table[1:5]

    rules = CONCATENATIONS["parts_of_joined"]
    traced = function.get_concrete_function()
    again = tf.function(lambda x: replay(traced, [x], {kind: [rule] for kind, rule in rules.items()}))
    np.testing.assert_array_equal(again(np.ones((4, 2), "float32"))[0], function(np.ones((4, 2), "float32")))
