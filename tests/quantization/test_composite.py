"""Layers made of layers, as the Keras documentation writes them, become quantization-aware, are pruned, saved and loaded."""

import keras
import numpy as np
import pytest
from keras import layers

import tfopt


@keras.saving.register_keras_serializable("tests")
class TransformerBlock(layers.Layer):
    """The block of the Keras documentation: a Sequential model and layers in attributes."""

    def __init__(self, width=8, **options):
        super().__init__(**options)
        self.width = width
        self.att = layers.MultiHeadAttention(2, width // 2)
        self.ffn = keras.Sequential([layers.Dense(2 * width, activation="relu"), layers.Dense(width)])
        self.norms = [layers.LayerNormalization(epsilon=1e-6), layers.LayerNormalization(epsilon=1e-6)]

    def call(self, x):
        x = self.norms[0](x + self.att(x, x))
        return self.norms[1](x + self.ffn(x))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


class Part(layers.Layer):
    """A layer that cannot be made alone."""

    def __init__(self, gain, **options):
        super().__init__(**options)
        self.gain, self.dense = gain, layers.Dense(8)

    def call(self, x):
        return self.gain[0] * self.dense(x)

    def get_config(self):
        raise NotImplementedError


@keras.saving.register_keras_serializable("tests")
class Whole(keras.Model):
    """A Functional model of such layers, which it makes itself, as the models of KerasHub do."""

    def __init__(self, width, **options):
        self.width = width
        source = keras.Input((6, 8), name="x")
        x = source
        for number in range(2):
            x = Part(np.full(1, 0.5, "float32"), name=f"part_{number}")(x)
        super().__init__(source, layers.Dense(width, name="head")(layers.GlobalAveragePooling1D(name="pool")(x)), **options)

    def get_config(self):
        return {"width": self.width, "name": self.name}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def blocks():
    source = keras.Input((6, 8), name="x")
    x = TransformerBlock(name="block_1")(TransformerBlock(name="block_0")(source))
    return keras.Model(source, layers.Dense(3, name="head")(layers.GlobalAveragePooling1D(name="pool")(x)))


def data(count=32):
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, 6, 8)).astype("float32"), rng.normal(size=(count, 3)).astype("float32")


@pytest.mark.parametrize(
    "build", [pytest.param(blocks, id="blocks", marks=pytest.mark.slow), pytest.param(lambda: Whole(3), id="parts")]
)
def test_a_trained_model_is_saved_loaded_and_stripped(build, tmp_path):
    keras.utils.set_random_seed(0)
    model, (x, y) = build(), data()
    qat = tfopt.calibrate(tfopt.quantize_aware(model, verbose=False), x, verbose=False)
    qat.compile("sgd", "mse", jit_compile=False)  # compiling takes longer than training here
    qat.fit(x, y, epochs=2, verbose=0)
    qat.save(tmp_path / "qat.keras")
    loaded = tfopt.load(tmp_path / "qat.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), qat.predict(x, verbose=0), atol=1e-5)
    plain = tfopt.strip_quantization(loaded)
    assert type(plain) is type(model)
    np.testing.assert_allclose(plain.predict(x, verbose=0), qat.predict(x, verbose=0), atol=0.1)
    report = tfopt.quantization_report(loaded)
    assert all(row.bits == 8 for row in report.weights if row.name.endswith("kernel")) and not report.unseen


@pytest.mark.slow
def test_layers_inside_a_layer_may_stay_float(tmp_path):
    qat = tfopt.quantize_aware(blocks(), exclude="block_0/multi_head_attention*", verbose=False)
    qat.save(tmp_path / "qat.keras")
    for each in (qat, tfopt.load(tmp_path / "qat.keras")):
        bits = {row.name: row.bits for row in tfopt.quantization_report(each).weights if row.name.endswith("kernel")}
        inside = [bit for name, bit in bits.items() if name.startswith("block_0/multi")]
        assert len(inside) == 4 and not any(inside)
        assert all(bit == 8 for name, bit in bits.items() if not name.startswith("block_0/multi"))


def test_zeros_inside_layers_hold():
    keras.utils.set_random_seed(0)
    model, (x, y) = blocks(), data()
    model.compile("adam", "mse", jit_compile=False)
    schedule = tfopt.PolynomialDecay(0.8, begin=0, end=3)
    model.fit(x, y, epochs=4, batch_size=8, verbose=0, callbacks=[tfopt.PruningCallback(schedule)])
    zeros = {row.name: row.sparsity for row in tfopt.sparsity_report(model).weights}
    zeros = {name: share for name, share in zeros.items() if name.endswith("kernel")}
    assert sum(name.startswith("block_") for name in zeros) == 12
    assert all(share == pytest.approx(0.8, abs=0.02) for name, share in zeros.items() if name != "head/kernel")


class Fixed(layers.Layer):
    """Runs on some sizes of a batch only, but tells Keras the shape of its output."""

    def __init__(self, sizes, **options):
        super().__init__(**options)
        self.sizes = sizes
        self.dense = layers.Dense(2)

    def get_config(self):
        return {**super().get_config(), "sizes": self.sizes}

    def build(self, shape):
        self.dense.build(shape)

    def compute_output_shape(self, shape):
        return (*shape[:-1], 2)

    def call(self, x):
        if x.shape[0] is None or x.shape[0] not in self.sizes:
            raise ValueError("no batch size")
        return keras.ops.tanh(self.dense(x))


def test_a_layer_that_needs_sizes_is_rounded_inside():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), Fixed([8, 16], name="fixed")])
    aware = tfopt.quantize_aware(model, verbose=False)
    assert aware.output_shape == (None, 2)
    assert any(quantizer.name.startswith("fixed/") for quantizer in tfopt.quantization_report(aware).activations)
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    np.testing.assert_allclose(aware(x), model(x), atol=0.1)


def test_a_layer_that_cannot_run_on_open_sizes_is_named():
    model = keras.Sequential([keras.Input((4,)), Fixed([7], name="fixed")])
    with pytest.raises(tfopt.ArgumentError, match=r"fixed \(Fixed\): in Fixed\.call\(\): no batch size.*exclude='fixed'"):
        tfopt.quantize_aware(model, verbose=False)
    assert tfopt.quantize_aware(model, exclude="fixed", verbose=False).built
