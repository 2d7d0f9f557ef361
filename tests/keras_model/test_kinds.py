"""Which Keras class a layer computes as."""

import keras
import pytest
import tf_keras

from tfopt.keras_model.kinds import is_keras_2, layer_kind, operation_kind

BOTH = pytest.mark.parametrize("module", [keras, tf_keras], ids=["keras3", "keras2"])


@BOTH
@pytest.mark.parametrize("name", ["LSTM", "GRU", "Embedding", "Masking", "ELU", "Maximum", "UnitNormalization", "Normalization"])
def test_a_namesake_is_another_class(module, name):
    own = type(name, (module.layers.Layer,), {"call": lambda self, x: x})
    assert layer_kind(own()) != name


@BOTH
def test_a_derived_class_counts_unless_it_computes_otherwise(module):
    class Described(module.layers.LSTM):
        """A layer with another default, a configuration, and a method of its own."""

        def __init__(self, units=4, **kwargs):
            super().__init__(units, **kwargs)

        def get_config(self):
            return super().get_config()

        def describe(self):
            return "an LSTM"

    class Doubled(module.layers.LSTM):
        def call(self, *args, **kwargs):
            return 2.0 * super().call(*args, **kwargs)

    class Further(Doubled):
        """Derived from a class that computes otherwise."""

    assert layer_kind(Described()) == "LSTM" and layer_kind(Doubled(4)) is None and layer_kind(Further(4)) is None
    assert layer_kind(Doubled(4), besides=("call",)) == "LSTM"


def test_a_method_that_call_relies_on_counts_as_well():
    class Turned(keras.layers.Masking):
        def compute_mask(self, inputs, mask=None):
            return None

    assert layer_kind(Turned()) is None and layer_kind(Turned(), besides=("compute_mask",)) == "Masking"


def test_operations_are_no_layers():
    x = keras.Input((4,))
    model = keras.Model(x, keras.ops.maximum(x, 2.0 * x))
    found = [operation_kind(each) for each in model.operations]
    assert "Maximum" in found and not any(layer_kind(each) == "Maximum" for each in model.operations)
    assert operation_kind(keras.layers.Maximum()) is None

    class Maximum(keras.Operation):
        def call(self, x):
            return x

    assert operation_kind(Maximum()) is None


def test_the_generation_of_a_layer():
    class Own(tf_keras.layers.Layer):
        pass

    assert is_keras_2(Own()) and is_keras_2(tf_keras.layers.Dense(1)) and not is_keras_2(keras.layers.Dense(1))
