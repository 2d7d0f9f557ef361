"""The layers that make the outputs of a model, in all kinds of models."""

import keras
from keras import layers

from tfopt.keras_model.output_layers import find_output_layers


def names(model):
    return [layer.name for layer in find_output_layers(model)]


def test_several_outputs_as_list_and_dict(framework):
    make = framework.layers
    source = framework.Input((8,))
    trunk = make.Dense(8, name="trunk")(source)
    one, two = make.Dense(2, name="one")(trunk), make.Activation("relu")(make.Dense(2, name="two")(trunk))
    assert names(framework.Model(source, [one, two])) == ["one", "two"]
    assert names(framework.Model(source, {"a": one, "b": two})) == ["one", "two"]


def test_a_nested_model_is_looked_into():
    inner = keras.Sequential([keras.Input((8,)), layers.Dense(8, name="deep"), layers.Dense(2, name="last")], name="inner")
    assert names(keras.Sequential([keras.Input((8,)), inner, layers.Softmax()])) == ["last"]


def test_a_wrapper_and_a_bare_operation_at_the_end():
    sequence = keras.Sequential([keras.Input((4, 8)), layers.LSTM(8, return_sequences=True, name="lstm")])
    sequence.add(layers.TimeDistributed(layers.Dense(3, name="each"), name="time"))
    assert names(sequence) == ["time"]
    image = keras.Input((8, 8, 4))
    mask = layers.Conv2D(1, 1, name="mask")(layers.Conv2D(4, 3, padding="same", name="body")(image))
    assert names(keras.Model(image, keras.ops.sigmoid(mask))) == ["mask"]


def test_the_last_layer_of_a_subclassed_model(framework):
    class Net(framework.Model):
        def __init__(self):
            super().__init__()
            self.first, self.norm = framework.layers.Dense(4, name="first"), framework.layers.BatchNormalization(name="norm")

        def call(self, x):
            return self.norm(self.first(x))

    model = Net()
    model.build((None, 4))
    model(framework.backend.zeros((1, 4)) if framework.__name__ == "tf_keras" else keras.ops.zeros((1, 4)))
    assert names(model) == ["first"]
