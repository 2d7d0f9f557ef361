"""Which layers keep the scale of their input, which ones have a fixed range, and whose layers are known."""

import keras
import pytest
from keras import activations, layers

from tfopt.quantization import layer_kinds


class Dropout(layers.Layer):
    """Has the name of a layer of Keras, and nothing else of it."""


@pytest.mark.parametrize(
    ("layer", "keeps", "rounds"),
    [
        (layers.MaxPooling2D(2), True, False),
        (layers.Dropout(0.5), True, False),
        (Dropout(), False, False),
        (layers.AveragePooling2D(2), False, True),
        (layers.UpSampling2D(), True, False),
        (layers.UpSampling2D(interpolation="bilinear"), False, True),
        (layers.UpSampling1D(), True, False),
        (layers.Resizing(4, 4), False, True),
        (layers.LeakyReLU(), False, True),
        (layers.LeakyReLU(negative_slope=1.5), False, False),
        (layers.ReLU(negative_slope=0.1), False, True),
        (layers.ReLU(6.0, negative_slope=0.1), False, False),
        (layers.ReLU(), False, False),
        (layers.Activation("leaky_relu"), False, True),
        (layers.Dense(3, activation="leaky_relu"), False, False),
        (layers.Dense(3), False, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, layers.Layer) else str(value),
)
def test_scales(layer, keeps, rounds):
    assert layer_kinds.keeps_scale(layer) is keeps and layer_kinds.rounds_as_before(layer) is rounds


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.Softmax(), (0.0, 255 / 256)),
        (layers.Dense(3, activation="sigmoid"), (0.0, 255 / 256)),
        (layers.Activation("tanh"), (-1.0, 127 / 128)),
        (layers.Conv2D(3, 1, activation="hard_sigmoid"), (0.0, 1.0)),
        (layers.Dense(3), None),
        (layers.LSTM(3), None),  # its tanh is not its output
        (layers.Dense(3, activation=lambda x: activations.sigmoid(x)), None),
        (Dropout(), None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, layers.Layer) else str(value),
)
def test_fixed_ranges(layer, expected):
    assert layer_kinds.fixed_range(layer) == expected


@pytest.mark.parametrize(
    ("layer", "is_fused"),
    [
        (layers.ReLU(), True),
        (layers.ReLU(6.0), True),
        (layers.ReLU(5.0), False),
        (layers.ReLU(negative_slope=0.1), False),
        (layers.Activation("relu6"), True),
        (layers.Activation("silu"), False),
        (Dropout(), False),
    ],
)
def test_activations_that_join_the_operation_before(layer, is_fused):
    assert layer_kinds.is_fused_activation(layer) is is_fused


def test_loops_and_composites():
    for layer in (layers.LSTM(2), layers.Bidirectional(layers.GRU(2)), layers.ConvLSTM1D(2, 2)):
        assert layer_kinds.is_recurrent(layer)
    assert layer_kinds.is_loop(layers.TimeDistributed(layers.Dense(2))) and not layer_kinds.is_loop(layers.Dense(2))
    attention = layers.MultiHeadAttention(2, 2)
    attention.build((None, 3, 4), (None, 3, 4))
    assert layer_kinds.is_composite(attention) and not layer_kinds.is_composite(layers.Dense(2))
    assert not layer_kinds.is_composite(layers.LSTM(2)), "its cell runs in a loop"


def test_names_of_activation_functions():
    assert layer_kinds.activation_name(activations.relu) == "relu"
    assert layer_kinds.activation_name(lambda x: x) is None and layer_kinds.activation_name(None) is None
    assert layer_kinds.has_activation(layers.Dense(2, activation="relu"))
    assert not layer_kinds.has_activation(layers.Dense(2)) and not layer_kinds.has_activation(keras.layers.Add())
