"""Every operation of `keras.ops` in int8: the two columns of docs/operations.md."""

import functools
import pathlib
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from seeded_models import largest_differences, measure, padded, run_traced, specs_of, to_int8

import tfopt
from tfopt.lowering.trace import trace_model

sys.path.insert(0, str(pathlib.Path(__file__).parents[3] / "tools"))

from operation_cases import CASES, IMPOSSIBLE
from sweep_ops import LEAST, PLACES, SLACK, build, ceiling, draw

KERNELS = 1.0  # dB that the kernels of another CPU, which round to the other side, may cost
RIGHT = 0.85  # of the results that jump; another CPU's kernels may move a few to the other side
POSSIBLE = [case for case in CASES if case.name not in IMPOSSIBLE]


def one_input(case, place):
    """The model of a case with inputs of names that no other case has."""
    model = build(case, place)
    inputs = [keras.Input(each.shape[1:], dtype=each.dtype, name=f"{CASES.index(case)}_{each.name}") for each in model.inputs]
    return keras.Model(inputs, model(inputs if len(inputs) > 1 else inputs[0]))


@functools.cache
def measured(place):
    """Name of a case -> (wanted, found) values of its int8 file, and the names of all float operations; all cases are one file."""
    models = {case.name: one_input(case, place) for case in POSSIBLE}
    joined = keras.Model([each for model in models.values() for each in model.inputs], [model.output for model in models.values()])

    def data(count, seed):
        drawn = {}
        for case in POSSIBLE:
            drawn |= {f"{CASES.index(case)}_{name}": array for name, array in draw(case, count, seed).items()}
        return drawn

    content = to_int8(joined, data=data(256, seed=2))
    test = data(48, seed=3)
    float_ops, _ = measure(joined, content, data=test)
    wanted = run_traced(trace_model(joined, specs_of(joined)), test)
    found = tfopt.Interpreter(content).run(test)
    return dict(zip(models, zip(wanted, found, strict=True), strict=True)), float_ops


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_no_operation_is_left_in_float(place):
    assert not measured(place)[1]


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", POSSIBLE, ids=lambda case: case.name)
def test_int8_is_as_right_as_8_bits_allow(case, place):
    wanted, found = measured(place)[0][case.name]
    found = found.reshape(wanted.shape)
    if wanted.dtype.kind != "f":
        assert (wanted == found).mean() > RIGHT
    elif case.jumps:
        assert (np.abs(wanted - found) <= 3 * np.ptp(wanted) / 255).mean() > RIGHT
    else:
        reached = 10 * np.log10((wanted.astype(float) ** 2).sum() / max(((wanted.astype(float) - found) ** 2).sum(), 1e-30))
        if reached < LEAST - KERNELS:
            assert reached >= ceiling(build(case, place), draw(case, 256, seed=2), draw(case, 48, seed=3)) - SLACK - KERNELS


class Merged(keras.layers.Layer):
    """Attention to two sequences at once, whose masks are joined after they became numbers, as in T5Gemma 2."""

    def call(self, x, mask):
        ops = keras.ops
        far = [(1.0 - ops.cast(each[:, None, :], "float32")) * -1e9 for each in (mask, ops.flip(mask, -1))]
        far = ops.concatenate(far, -1)
        keys = ops.concatenate([x, 0.5 * x], 1)
        return ops.matmul(ops.softmax(ops.matmul(x, ops.transpose(keys, (0, 2, 1))) + far), keys)


def test_masks_that_are_joined_do_not_set_the_range_of_scores():
    model, data = padded(Merged())
    float_ops, (decibel,) = measure(model, to_int8(model, data=data), data=data)
    assert not float_ops and decibel >= 25.0


class Diagonals(keras.layers.Layer):
    """Vectors on the diagonal of matrices, and the unit matrix as an addend, as in linear attention."""

    def call(self, x):
        return [tf.linalg.diag(x), keras.ops.expand_dims(x, -1) + keras.ops.eye(x.shape[-1])]


def test_diagonal_matrices():
    x = keras.Input((6,))
    model = keras.Model(x, Diagonals()(keras.layers.Dense(6, bias_initializer="ones")(x)))
    float_ops, decibels = measure(model, to_int8(model))
    assert not float_ops and min(decibels) >= 30.0


@pytest.mark.parametrize("k", [0, 1, -2])
def test_other_diagonals_keep_their_numbers(k):
    x = keras.Input((6,))
    model = keras.Model(x, keras.layers.Lambda(lambda x: tf.linalg.diag(x, k=k, padding_value=2.0))(x))
    assert max(largest_differences(model)) <= 1e-6
