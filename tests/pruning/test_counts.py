"""How many units are zero: by the schedule, and never fewer than at the beginning."""

import keras
import numpy as np
import pytest
from keras import layers

import tfopt
from tfopt.pruning.counts import ZeroCounts
from tfopt.pruning.prunable_weights import find_targets

RISING = tfopt.PolynomialDecay(0.5, begin=0, end=10, power=1)


@pytest.fixture
def targets():
    """Kernels `a` of 64 weights, 16 of them zero, and `b` of 32, all zero."""
    model = keras.Sequential(
        [keras.Input((8,)), layers.Dense(8, name="a"), layers.Dense(4, name="b", kernel_initializer="zeros"), layers.Dense(2)]
    )
    kernel = np.ones((8, 8))
    kernel[:2] = 0
    model.get_layer("a").kernel.assign(kernel)
    return find_targets(model, tfopt.Unstructured())[0]


def test_each_target(targets):
    counts = ZeroCounts(targets, tfopt.Unstructured(), "layer")
    assert counts.none == [0, 0] and counts.initial == [16, 0]  # a tensor of zeros alone may change
    assert counts.at(RISING, 0) == [16, 0] and counts.at(RISING, 6) == [19, 10] and counts.at(RISING, 10) == [32, 16]
    plan = tfopt.ConstantSparsity({"a": 0.75, "b": 0.25}, begin=0)
    assert counts.at(plan, 0) == [48, 8]
    assert counts.missed(RISING, [32, 16]) == counts.missed(RISING, [31, 15]) == []  # a unit may be missing
    assert counts.missed(RISING, [16, 16]) == ["a/kernel 25.00% of 50.00%"]


def test_all_targets_together(targets):
    counts = ZeroCounts(targets, tfopt.Unstructured(), "global")
    assert counts.none == 0 and counts.initial == 16
    assert counts.at(RISING, 0) == 16 and counts.at(RISING, 10) == 48
    assert counts.missed(RISING, [48, 0]) == []
    assert counts.missed(RISING, [16, 8]) == ["all pruned weights together 25.00% of 50.00%"]


def test_units_of_several_weights(targets):
    counts = ZeroCounts(targets, tfopt.Block((2, 4)), "layer")
    assert counts.initial == [2, 0] and counts.at(RISING, 10) == [4, 2]
    assert counts.missed(RISING, [32, 16]) == [] and counts.missed(RISING, [16, 16]) == ["a/kernel 25.00% of 50.00%"]
