"""`replay`: the same function computed again, with some operations replaced."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from seeded_models import draw, largest_differences, seeded, specs_of

from tfopt.lowering import lower
from tfopt.lowering.operations.replay import replaces, replay
from tfopt.lowering.trace import trace_model


def traced_again(function, rules):
    signature = [tf.TensorSpec(each.shape, each.dtype) for each in function.inputs[: len(function.structured_input_signature[0])]]
    return tf.function(lambda *tensors: replay(function, tensors, rules), input_signature=signature).get_concrete_function()


@pytest.fixture
def squared():
    weight = tf.Variable([1.0, 2.0])

    @tf.function
    def inner(x):
        return -x * weight

    @tf.function(input_signature=[tf.TensorSpec((2,))])
    def outer(x):
        return inner(x) + tf.cond(x[0] > 0, lambda: -x, lambda: x), -x

    return outer.get_concrete_function(), weight


def test_without_rules_nothing_changes(squared):
    function, _ = squared
    again = traced_again(function, {})
    for x in ([1.0, 2.0], [-1.0, 2.0]):
        for old, new in zip(function(tf.constant(x)), again(tf.constant(x)), strict=True):
            np.testing.assert_array_equal(old, new)


def test_rules_see_called_functions_and_variables_stay_variables(squared):
    function, weight = squared
    again = traced_again(function, {"Neg": [lambda operation, find: find(operation.inputs[0]) * -2.0]})
    weight.assign([3.0, 4.0])
    first, second = again(tf.constant([-1.0, 2.0]))
    np.testing.assert_array_equal(first, [2.0 * 3.0 - 1.0, -4.0 * 4.0 + 2.0])
    np.testing.assert_array_equal(second, [2.0, -4.0])
    assert [each.ref() for each in again.variables] == [weight.ref()]


def test_a_rule_may_leave_an_operation_to_the_next(squared):
    function, _ = squared
    rules = [lambda operation, find: None, lambda operation, find: find(operation.inputs[0])]
    _, second = traced_again(function, {"Neg": rules})(tf.constant([1.0, 2.0]))
    np.testing.assert_array_equal(second, [1.0, 2.0])


def test_a_function_without_an_operation_to_replace_is_known_and_unharmed():
    @tf.function(input_signature=[tf.TensorSpec((2,))])
    def negated(x):
        return -tf.identity(x)

    function = negated.get_concrete_function()
    operations = len(function.graph.get_operations())
    rules = {
        "Neg": [lambda operation, find: find(operation.inputs[0]) * 2.0 if find(operation.inputs[0]).op.type == "Add" else None]
    }
    assert not replaces(function, rules)
    assert replaces(function, {"Neg": [lambda operation, find: find(operation.inputs[0]) * 2.0]})
    assert len(function.graph.get_operations()) == operations


def test_a_convolutional_network_is_not_computed_again():
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.BatchNormalization()]
    )
    plan = lower.plan(model)
    assert not plan.operations.applies(trace_model(model, specs_of(model)).function)
    assert not plan.operations.met


def test_whoever_wrote_the_layer_it_computes_the_same():
    class Own(keras.layers.Layer):
        def call(self, x):
            ops = keras.ops
            mask = ops.cast(x > 0, "float32")
            scores = ops.softmax(x + (1.0 - mask) * -1e9)
            return ops.maximum(0.0, -x) + ops.where(ops.isnan(x), 0.0, scores) + ops.cumsum(x, axis=1) + ops.erf(x) / (1.0 + x * x)

    model = seeded(lambda k: k.Sequential([k.Input((6, 8)), k.layers.Dense(8), Own(name="own")]), "keras3")
    lowering = lower.plan(model)
    (difference,) = largest_differences(model, lowering=lowering)
    assert difference <= 1e-5
    assert all("own" in layers for name, layers in lowering.touched.items() if name in ("attention", "negation", "cumulation"))
    assert {"attention", "negation", "cumulation", "quotient"} <= set(lowering.touched)


def test_large_values_are_not_lost_beside_small_ones():
    x, y = keras.Input((4,), name="x"), keras.Input((4,), name="y")
    model = keras.Model([x, y], keras.ops.maximum(x, y))
    data = {
        "x": np.array([[-1e9, -3e4, -1e30, 1.0]], "float32"),
        "y": np.array([[0.123, 0.123, 0.5, 2.0]], "float32"),
    }
    lowered = trace_model(model, specs_of(model), lower.plan(model))
    np.testing.assert_array_equal(lowered(data)[0], np.maximum(data["x"], data["y"]))


@pytest.mark.parametrize("name", ["maximum", "minimum", "not_equal"])
@pytest.mark.parametrize("first", [True, False], ids=["number first", "tensor first"])
def test_a_number_may_come_first(name, first):
    def build(k):
        x = k.Input((6,))
        compute = getattr(k.ops, name)
        result = compute(0.5, x) if first else compute(x, 0.5)
        return k.Model(x, k.layers.Dense(2)(k.ops.where(result, x, 1.0) if name == "not_equal" else result))

    model = seeded(build, "keras3")
    (difference,) = largest_differences(model, data=draw(specs_of(model), 4, seed=1))
    assert difference <= 1e-5
