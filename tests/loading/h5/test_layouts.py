"""Weights of Theano and cuDNN compute the same in the layout of today."""

import json

import numpy as np
import pytest
import tf_keras
from h5_files import layer, write

import tfopt


def test_theanos_kernels_of_keras_2_are_mirrored_and_its_gru_resets_before(tmp_path, random):
    layers = tf_keras.layers
    original = tf_keras.Sequential([layers.Conv1D(4, 3, input_shape=(9, 2)), layers.GRU(3, reset_after=False)])
    config = json.loads(original.to_json())
    for node in config["config"]["layers"]:
        node["config"].pop("reset_after", None)
    arrays = original.get_weights()
    conv, gru = (item.name for item in original.layers)
    weights = {
        conv: [("kernel", arrays[0][::-1]), ("bias", arrays[1])],
        gru: [(f"w{i}", array) for i, array in enumerate(arrays[2:])],
    }
    path = write(tmp_path / "theano.h5", config, weights, keras_version="2.2.4", backend="theano")
    x = random(3, 9, 2)
    np.testing.assert_allclose(tfopt.load(path)(x), original(x), atol=1e-6)


@pytest.mark.parametrize("kind, gates", [("LSTM", 4), ("GRU", 3)])
def test_cudnn_layers_become_plain_ones(tmp_path, random, kind, gates):
    arrays = [("k:0", random(3, 5 * gates)), ("r:0", random(5, 5 * gates)), ("b:0", random(10 * gates))]
    layers = [layer(f"CuDNN{kind}", "rnn", batch_input_shape=[None, 6, 3], units=5, return_sequences=False)]
    path = write(tmp_path / "cudnn.h5", layers, {"rnn": arrays}, keras_version="2.2.0", backend="tensorflow")
    by_tf_keras = tf_keras.Sequential([getattr(tf_keras.layers, kind)(5, input_shape=(6, 3), name="rnn")])
    by_tf_keras.load_weights(path)
    x = random(2, 6, 3)
    np.testing.assert_allclose(tfopt.load(path)(x), by_tf_keras(x), atol=1e-6)
