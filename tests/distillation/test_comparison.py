"""Which tensors of student and teacher meet in a loss, with which labels and weights."""

import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.distillation.comparison import pairs, value_of

OUTPUTS, TARGETS = ["s0", "s1"], ["t0", "t1"]


class Product(tfopt.DistillationLoss):
    """`student * teacher`, plus labels."""

    def call(self, student, teacher, labels=None):
        value = tf.reduce_sum(student * teacher, -1)
        return value if labels is None else value + labels


def test_outputs_are_compared_one_by_one_or_else_the_named_layers():
    assert pairs(tfopt.LogitsDistillation(), OUTPUTS, TARGETS, {}, {}) == [("s0", "t0"), ("s1", "t1")]
    loss = tfopt.FeatureDistillation("a", "b")
    assert pairs(loss, OUTPUTS, TARGETS, {"a": "sa", "b": "sb"}, {"b": "tb"}) == [("sa", "tb")]


@pytest.mark.parametrize(("features", "guides", "name"), [({}, {"b": 1}, "'a'"), ({"a": 1}, {}, "'b'")])
def test_a_layer_must_have_run(features, guides, name):
    with pytest.raises(tfopt.ArgumentError, match=f"must run in each call of its model. Received: {name}, which did not run"):
        pairs(tfopt.FeatureDistillation("a", "b"), [], [], features, guides)


def test_labels_and_weights_go_with_their_output():
    compared = [(tf.constant([[1.0, 2.0], [3.0, 4.0]]), tf.ones((2, 2))), (tf.constant([[5.0], [6.0]]), tf.ones((2, 1)))]
    assert value_of(Product(), compared, None, None) == np.mean([3, 7]) + np.mean([5, 6])
    weight = tf.constant([1.0, 0.0])
    assert value_of(Product(), compared, None, weight) == 1.5 + 2.5, "one weight for all outputs"
    assert value_of(Product(), compared, None, [weight, tf.constant([0.0, 1.0])]) == 1.5 + 3.0
    labels = [tf.constant([10.0, 10.0]), tf.constant([100.0, 100.0])]
    assert value_of(Product(), compared, labels, None) == 15 + 105.5
    assert value_of(Product(), compared, labels[:1], None) == 5 + 5.5, "labels for other outputs count in no loss"


def test_a_loss_that_needs_labels_gets_them():
    compared = [(tf.zeros((2, 3)), tf.zeros((2, 3)))]
    with pytest.raises(tfopt.ArgumentError, match="needs labels for each output. Received: labels for 0 of 1. Give fit"):
        value_of(tfopt.DecoupledDistillation(), compared, None, None)
    value = value_of(tfopt.DecoupledDistillation(), compared, tf.constant([0, 1]), None)
    assert float(value) == pytest.approx(0, abs=1e-6)
