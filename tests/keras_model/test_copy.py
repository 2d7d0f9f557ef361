"""Copies of models have the same layers and weights and share nothing."""

import sys
import types

import keras
import numpy as np
import pytest
import tf_keras

from tfopt.errors import ArgumentError
from tfopt.keras_model.copy import copy_model, custom_objects


@keras.saving.register_keras_serializable("tests.copy")
class Net(keras.Model):
    """A subclassed model that Keras can make again."""

    def __init__(self, **options):
        super().__init__(**options)
        self.first, self.last = keras.layers.Dense(8, name="first"), keras.layers.Dense(2, name="last")

    def build(self, shape):
        self.first.build(shape)
        self.last.build((*shape[:-1], 8))

    def call(self, x):
        return self.last(self.first(x))


class Closed(keras.Model):
    """A subclassed model without a configuration."""

    def __init__(self, units):
        super().__init__()
        self.first = keras.layers.Dense(units[0])

    def call(self, x):
        return self.first(x)

    def get_config(self):
        raise NotImplementedError


@keras.saving.register_keras_serializable("tests.copy")
class Late(Net):
    """A subclassed model that does not build its last layer before the first call."""

    def build(self, shape):
        self.first.build(shape)


def sequential(kind):
    layers = [kind.layers.Dense(4, name="a"), kind.layers.BatchNormalization(name="b")]
    return kind.Sequential([kind.layers.InputLayer((4,)), *layers])


def functional(kind):
    row = kind.Input((4,))
    inner = sequential(kind)
    return kind.Model(row, kind.layers.Add()([inner(row), row]))


def check_is_copy(model):
    copy, before = copy_model(model), model.get_weights()
    assert type(copy) is type(model) and copy is not model
    for one, other in zip(before, copy.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    copy.set_weights([np.zeros_like(value) for value in before])
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("build", [sequential, functional])
def test_copies_of_both_generations(build, framework):
    check_is_copy(build(framework))


@pytest.mark.parametrize("kind", [Net, Late])
def test_a_subclassed_model(kind):
    model = kind(name="net")
    model.build((None, 8))
    model(np.ones((1, 8), "float32"))
    check_is_copy(model)


@pytest.mark.parametrize("model, words", [(Closed([8]), "Closed")])
def test_models_that_cannot_be_copied(model, words):
    model.build((None, 8))
    model(np.ones((1, 8), "float32"))
    with pytest.raises(ArgumentError, match=f"that Keras can make again from its configuration.*({words})"):
        copy_model(model)


def test_a_layer_without_a_configuration_is_refused():
    class Scaled(keras.layers.Layer):
        def __init__(self, factor):
            super().__init__(name="scaled")
            self.factor = factor

        def call(self, x):
            return self.factor * x

    with pytest.raises(ArgumentError, match=r"from its configuration.*Received: scaled \(Scaled\) in net \(Sequential\): "):
        copy_model(keras.Sequential([keras.Input((4,)), Scaled(np.ones(4, "float32"))], name="net"))


def test_the_generation_is_kept():
    assert isinstance(copy_model(sequential(tf_keras)), tf_keras.Sequential)


def _block_of(module_name):
    """A class `Block` in a module of its own, as two model families of KerasHub have a class `MLP` each."""
    source = "import keras\n\n\nclass Block(keras.layers.Dense):\n    pass\n"
    module = types.ModuleType(module_name)
    exec(compile(source, module_name, "exec"), module.__dict__)
    return module


def test_two_classes_of_one_name_in_two_modules(monkeypatch):
    first, second = (_block_of(name) for name in ("tests_first_family", "tests_second_family"))
    for module in (first, second):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    model = keras.Sequential([keras.Input((4,)), first.Block(5), second.Block(3)])
    assert "Block" not in custom_objects(model)
    copied = copy_model(model)
    assert [type(layer) for layer in copied.layers] == [first.Block, second.Block]
    check_is_copy(model)


def test_two_classes_of_one_name_that_no_module_holds():
    first, second = (_block_of(name) for name in ("tests_first_family", "tests_second_family"))
    model = keras.Sequential([keras.Input((4,)), first.Block(5), second.Block(3)])
    with pytest.raises(ValueError, match="two classes or functions have the name 'Block'"):
        custom_objects(model)
