"""What normalization of each sample needs: exact steps before it, and rows without any variation in training."""

import keras
import numpy as np
import pytest
from quantized_layers import float_ops, parity, to_int8, trained

import tfopt

layers, ops = keras.layers, keras.ops
DATA = np.random.default_rng(0).normal(size=(100, 32, 8)).astype("float32")


@keras.saving.register_keras_serializable("tests")
class Inside(layers.Layer):
    """A Dense and what follows it, in a layer of the caller's own."""

    def __init__(self, after, **options):
        super().__init__(**options)
        self.dense, self.after = layers.Dense(16), after

    def call(self, x):
        return self.after(self.dense(x))

    def get_config(self):
        return {**super().get_config(), "after": keras.saving.serialize_keras_object(self.after)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "after": keras.saving.deserialize_keras_object(config["after"])})


LEAKY = {
    "LeakyReLU": lambda x: layers.LeakyReLU(0.01)(layers.Dense(16)(x)),
    "ReLU": lambda x: layers.ReLU(negative_slope=0.3)(layers.Dense(16)(x)),
    "Activation": lambda x: layers.Activation("leaky_relu")(layers.Dense(16)(x)),
    "activation": lambda x: layers.Conv1D(16, 3, activation="leaky_relu")(x),
    "keras.ops": lambda x: ops.leaky_relu(layers.Dense(16)(x), 0.07),
    "inside": lambda x: Inside(layers.LeakyReLU(0.1))(x),
    "activation inside": lambda x: Inside(layers.Dense(16, activation="leaky_relu"))(x),
}


@pytest.mark.parametrize("name", LEAKY)
def test_a_leaky_relu_of_the_file_is_that_of_the_model(name):
    """Between two scales, the kernel multiplies by a number of 8 bits: one value of a hundred came out one step off."""
    keras.utils.set_random_seed(0)
    source = keras.Input(DATA.shape[1:])
    model = keras.Model(source, LEAKY[name](source))
    qat = tfopt.calibrate(tfopt.quantize_aware(model, verbose=False), DATA, verbose=False)
    numbers = parity(qat, to_int8(qat), DATA)[0]
    assert numbers.mean_error_lsb <= 0.002, numbers
    close = np.abs(qat(DATA) - model(DATA)).mean() / np.abs(model(DATA)).mean()
    assert close <= 0.05  # the slope is a multiple of 1/256, and a step of 8 bits is some 3 % of the mean


def separation(x):
    """Blocks of causal, dilated, grouped convolutions, as nets that separate speakers have them."""
    x = layers.Conv1D(8, 1, use_bias=False)(x)
    for block in range(2):
        y = layers.LayerNormalization()(layers.LeakyReLU(0.01)(layers.Conv1D(16, 1, use_bias=False)(x)))
        y = layers.Conv1D(16, 3, padding="causal", dilation_rate=2**block, groups=4, use_bias=False)(y)
        y = layers.LayerNormalization()(layers.LeakyReLU(0.01)(y))
        x = x + layers.Conv1D(8, 1, use_bias=False)(y)
    return layers.Conv1D(8, 1, activation="sigmoid")(x)


@pytest.mark.slow
def test_leaky_blocks_with_normalization():
    keras.utils.set_random_seed(0)
    source = keras.Input(DATA.shape[1:])
    qat = trained(keras.Model(source, separation(source)), DATA, (DATA > 0).astype("float32"), rate=1e-3)
    interpreter = to_int8(qat)
    assert not float_ops(interpreter)
    numbers = parity(qat, interpreter, DATA)[0]
    print(numbers)
    assert numbers.sqnr >= 35, numbers


NORMALIZATIONS = {
    "LayerNormalization": layers.LayerNormalization, "GroupNormalization": lambda: layers.GroupNormalization(2),
    "RMSNormalization": layers.RMSNormalization,
}  # fmt: skip


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_rows_without_variation_train(name):
    """Their variance is the integer 0, whose reciprocal root the kernel bounds: no infinity, no NaN, and a range for the root."""
    keras.utils.set_random_seed(0)
    padded = DATA.copy()
    padded[::2] = 0.0
    if name != "GroupNormalization":  # whose rows are whole samples
        padded[:, 20:] = 0.0
    source = keras.Input(DATA.shape[1:])
    model = keras.Model(source, layers.Dense(3)(NORMALIZATIONS[name]()(layers.Dense(8, use_bias=False)(source))))
    qat = trained(model, padded, np.ones((100, 32, 3)))
    assert not tfopt.quantization_report(qat).unseen and all(np.isfinite(each).all() for each in qat.get_weights())
    interpreter = to_int8(qat)
    assert not float_ops(interpreter)
    numbers = parity(qat, interpreter, padded)[0]
    assert numbers.most_error_lsb <= 4, numbers
