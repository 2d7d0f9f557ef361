"""Every layer under quantization-aware training: it trains, is saved and loaded, and becomes an int8 file that does the same."""

import keras
import numpy as np
import pytest
from quantized_layers import CASES, build, float_ops, parity, to_int8, trained

import tfopt

# Layer -> steps of the output that 99.9 % of its values keep to, where that is more than one: what the file rounds and training
# does not is a normalization, a recurrent cell, attention of bare operations, or an average, whose ties round in other ways.
LIMITS = {
    "ConvLSTM1D": 4, "GRU": 6, "SimpleRNN": 5, "LSTM": 6, "Bidirectional": 10,
    "MultiHeadAttention": 3, "MultiHeadAttention, causal": 3, "GroupedQueryAttention": 3, "Attention": 3,
    "BatchNormalization": 3, "BatchNormalization, rank 2": 2, "LayerNormalization": 4, "GroupNormalization": 4,
    "RMSNormalization": 2, "UnitNormalization": 3,
    "AveragePooling1D": 3, "AveragePooling2D": 4, "Maximum": 3, "Minimum": 3,
    "ELU": 3, "activation elu": 3, "activation selu": 3, "activation softplus": 3, "activation mish": 3, "custom": 2,
}  # fmt: skip


# Layers with a near relative among the others: they take as long again.
VARIANTS = {
    "Conv2D, groups", "Conv1DTranspose", "DepthwiseConv1D", "SeparableConv1D", "MultiHeadAttention, causal",
    "GroupedQueryAttention", "SimpleRNN", "Bidirectional", "ConvLSTM1D", "BatchNormalization, rank 2", "Conv1D-BN", "Dense-BN",
    "Transpose-BN", "RMSNormalization", "UnitNormalization", "Average", "Minimum", "MaxPooling1D", "MaxPooling3D",
    "AveragePooling1D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalAveragePooling1D", "Cropping2D", "ReLU, capped",
    "activation relu6", "activation hard_silu", "activation hard_sigmoid", "activation selu", "activation elu",
    "Dense", "Conv1D", "Conv3D", "Permute", "RepeatVector", "Subtract", "GlobalAveragePooling2D", "ReLU", "activation softmax",
    "activation sigmoid", "activation softplus", "ELU", "GRU", "Attention", "GroupNormalization", "Maximum",
    "Conv2DTranspose", "SeparableConv2D", "TimeDistributed", "PReLU", "Rescaling", "Multiply", "Dot", "Reshape", "ZeroPadding2D",
    "Resizing", "LeakyReLU", "Softmax", "activation relu", "activation gelu",
    "activation softsign", "activation exponential", "activation mish", "activation leaky_relu", "activation tanh",
}  # fmt: skip
EVERY_LAYER = [pytest.param(name, marks=pytest.mark.slow if name in VARIANTS else []) for name in CASES]


class TestEveryLayer:
    @pytest.mark.parametrize("name", EVERY_LAYER)
    def test_trains_is_saved_and_becomes_the_same_int8_file(self, name, tmp_path):
        model, x, y = build(name)
        given = model.get_weights()
        qat = trained(model, x, y, epochs=0, run_eagerly=True)
        before = [variable.numpy() for variable in qat.trainable_variables]
        qat.fit(x, y, batch_size=100, epochs=2, verbose=0)
        still = [
            variable.path
            for variable, value in zip(qat.trainable_variables, before, strict=True)
            if np.array_equal(variable.numpy(), value)
        ]
        assert not still, "every trainable weight moves"
        assert not tfopt.quantization_report(qat).unseen
        np.testing.assert_array_equal(np.concatenate([value.ravel() for value in given]), flat(model))  # the caller's is as it was

        qat.save(tmp_path / "qat.keras")
        loaded = keras.saving.load_model(tmp_path / "qat.keras")
        np.testing.assert_array_equal(loaded(x[:50]), qat(x[:50]))

        interpreter = to_int8(loaded, x)
        assert not float_ops(interpreter)
        numbers = parity(qat, interpreter, x)[0]
        assert numbers.most_error_lsb <= LIMITS.get(name, 1), numbers
        plain = tfopt.strip_quantization(qat)
        assert [layer.name for layer in plain.layers] == [layer.name for layer in model.layers]


def flat(model):
    """All weights of a model in one array."""
    return np.concatenate([value.ravel() for value in model.get_weights()])
