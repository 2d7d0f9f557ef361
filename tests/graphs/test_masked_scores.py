"""Scores of attention are told from what masks them, however a layer writes it."""

import pytest
import tensorflow as tf

from tfopt.graphs.masked_scores import taken_apart

X, KEEP, NUMBERS = (tf.TensorSpec((2, 4), dtype) for dtype in ("float32", "bool", "int32"))


@pytest.mark.parametrize(
    ("masked", "terms", "masks"),
    [
        (lambda x, keep, numbers: tf.where(keep, x, -1e9), 1, 1),
        (lambda x, keep, numbers: tf.where(tf.logical_not(keep), -1e4, x), 1, 1),
        (lambda x, keep, numbers: x + (1.0 - tf.cast(keep, tf.float32)) * -1e9, 1, 1),
        (lambda x, keep, numbers: x + tf.cast(numbers, tf.float32) * -1e9 + tf.where(keep, 0.0, -1e9), 1, 2),
        (lambda x, keep, numbers: tf.where(keep, x + x * x, -1e9), 1, 1),
        (lambda x, keep, numbers: x + (x * 2.0 + tf.where(keep, 0.0, -1e9)), 2, 1),
        (lambda x, keep, numbers: x + 1.0, 1, 0),
        (lambda x, keep, numbers: tf.where(keep, x, -1.0), 1, 0),
    ],
    ids=["choice", "choice of the others", "truth", "two masks", "a sum", "two terms", "no mask", "no mask: a near number"],
)
def test_terms_and_masks(masked, terms, masks):
    found = []

    @tf.function(input_signature=[X, KEEP, NUMBERS])
    def trace(x, keep, numbers):
        found.extend(taken_apart(masked(x, keep, numbers)))
        return x

    trace.get_concrete_function()
    assert list(map(len, found)) == [terms, masks]
