"""The Keras 2 LSTM computes as the Keras 3 LSTM whose weights it has."""

import keras
import numpy as np
import pytest

from tfopt.keras2.recurrent import fused_lstm


@pytest.mark.parametrize("sequences", [True, False])
def test_a_fused_lstm_equals_the_keras_3_lstm(sequences):
    layer = keras.layers.LSTM(3, return_sequences=sequences)
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    expected = layer(x)
    fused = fused_lstm(layer.get_weights(), sequences, "fused")
    assert fused.name == "fused"
    np.testing.assert_allclose(fused(x), expected, atol=1e-6)
