"""Keras 2 models with other layers in them."""

import numpy as np
import pytest
import tf_keras
from keras2_models import Double, layers, small

from tfopt.errors import ArgumentError
from tfopt.keras2.rebuild import custom_objects_of, rebuild


def test_layers_are_replaced_inside_of_models_and_all_others_are_shared():
    inner = small(layers.Dense(4, name="deep"), shape=(4,))
    model = small(layers.Dense(4, name="first"), inner, shape=(4,))
    deep = inner.get_layer("deep")
    made = rebuild(model, {id(deep): Double(name="double")})
    assert made is not model and made.get_layer("first") is model.get_layer("first")
    x = np.ones((2, 4), "float32")
    expected = model.get_layer("out")(inner.get_layer("out")(2 * model.get_layer("first")(x)))
    np.testing.assert_allclose(made(x), expected, rtol=1e-6)
    assert model.layers[1] is inner and inner.layers[0] is deep
    assert rebuild(model, {}) is model


def test_classes_of_a_model_by_name():
    model = tf_keras.Sequential([layers.InputLayer((4,)), Double(), layers.Lambda(lambda x: x + 1, name="plus")])
    objects = custom_objects_of(model)
    assert objects["Double"] is Double
    assert objects["Lambda"].from_config({"name": "plus"}) is model.layers[1]
    inner = small(layers.Lambda(lambda x: x, name="plus"), shape=(4,))
    twice = tf_keras.Sequential([layers.InputLayer((4,)), inner, model.layers[1]])
    with pytest.raises(ArgumentError, match=r"different names.*Received: plus, plus\. Give `name`"):
        custom_objects_of(twice)
