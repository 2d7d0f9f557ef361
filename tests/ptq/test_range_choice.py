"""Tensors that must have one scale get one range, whatever the operation between them."""

import keras
import tensorflow as tf
from seeded_models import draw, seeded, specs_of

from tfopt.conversion import export
from tfopt.lowering import lower
from tfopt.lowering.trace import trace_model


class ReversedBesideLarge(keras.layers.Layer):
    """Joins a reversed tensor with one whose values are larger."""

    def call(self, small, large):
        parts = [tf.reshape(each, (1, -1, 4)) for each in (tf.reverse(small, [1]), large)]
        return tf.concat(parts, axis=1)


def _model(k):
    source = k.Input((6, 6, 4))
    small = k.layers.Dense(8)(source)
    large = k.layers.Dense(8, kernel_initializer=k.initializers.RandomNormal(stddev=5.0))(source)
    return k.Model(source, [k.layers.Dense(4)(ReversedBesideLarge()(small, large)), k.layers.Dense(3)(small)])


def test_a_reversed_tensor_has_the_range_of_its_source():
    """REVERSE_V2 copies integers. With two ranges the file would need a QUANTIZE between them."""
    model = seeded(_model, "keras3")
    traced = trace_model(model, specs_of(model), lower.plan(model))
    exported = export.to_tflite(traced, export.Variant("int8"), samples=draw(specs_of(model), 60, seed=2))
    assert exported.notes, "the ranges were chosen by tfopt"
    assert "requantize" not in exported.edits
