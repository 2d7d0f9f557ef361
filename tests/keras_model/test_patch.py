"""Replaced attributes of layers are used while they last and then gone."""

import numpy as np
import pytest

from tfopt.keras_model.patch import replaced_attributes


def test_replaced_attributes_reach_nested_layers_and_leave_nothing_behind(framework):
    inner = framework.Sequential([framework.layers.Dense(4, name="inner")])
    row = framework.Input((4,))
    model = framework.Model(row, inner(row))
    x = np.ones((2, 4), "float32")
    before, layer = model(x).numpy(), inner.layers[-1]
    with (
        pytest.raises(ZeroDivisionError),
        replaced_attributes({layer: {"call": lambda inputs: 0 * inputs + 7, "activation": None}}),
    ):
        assert (model(x).numpy() == 7).all()
        1 / 0  # noqa: B018
    np.testing.assert_array_equal(model(x), before)
    assert "call" not in vars(layer) and layer.activation is not None
