"""Models after Keras' own `model.quantize(...)`: dequantized in memory and from files, converted, and not trained."""

import keras
import numpy as np
import pytest

import tfopt
from tfopt.loading.dequantize import dequantized

L = keras.layers
VECTORS = np.random.default_rng(0).normal(size=(120, 6, 8)).astype("float32")
IDS = np.random.default_rng(1).integers(0, 20, (120, 6)).astype("int32")


@keras.saving.register_keras_serializable("test_dequantize")
class Block(L.Layer):
    """A layer made of layers."""

    def build(self, shape):
        self.widen, self.narrow = L.Dense(12, activation="relu", name="widen"), L.Dense(8, name="narrow")
        self.widen.build(shape)
        self.narrow.build((*shape[:-1], 12))
        self.built = True

    def call(self, x):
        return x + self.narrow(self.widen(x))


def chain(source, *layers):
    x = source
    for layer in layers:
        x = layer(x)
    return keras.Model(source, x)


def nested():
    inner = chain(keras.Input((6, 8)), L.Dense(8, activation="relu", name="within"))
    inner.name = "inner"
    return chain(keras.Input((6, 8)), inner, L.Dense(4))


def reversible():
    embedding, ids = L.ReversibleEmbedding(20, 8, tie_weights=False), keras.Input((6,), dtype="int32")
    return keras.Model(ids, embedding(embedding(ids), reverse=True))


def attention():
    x = keras.Input((6, 8))
    return keras.Model(x, L.Dense(4)(L.MultiHeadAttention(2, 4)(x, x)))


MODELS = {
    "Dense": lambda: chain(keras.Input((6, 8)), L.Dense(16, activation="tanh"), L.Dense(4, use_bias=False)),
    "Sequential": lambda: keras.Sequential([keras.Input((6, 8)), L.Dense(16, activation="relu"), L.Dense(4)]),
    "EinsumDense": lambda: chain(
        keras.Input((6, 8)),
        L.EinsumDense("abc,cde->abde", (None, 2, 4), bias_axes="de"),
        L.EinsumDense("abde,def->abf", (None, 5), activation="relu"),
        L.EinsumDense("abf,gf->abg", (None, 3)),
    ),
    "Embedding": lambda: chain(keras.Input((6,), dtype="int32"), L.Embedding(20, 8), L.Dense(4)),
    "ReversibleEmbedding": reversible,
    "nested model": nested,
    "inside another layer": lambda: chain(keras.Input((6, 8)), Block(name="block"), L.Dense(4)),
    "MultiHeadAttention": attention,
    "beside others": lambda: chain(keras.Input((6, 8)), L.Conv1D(4, 3), L.LayerNormalization(), L.Dense(4)),
}
# The others are slow tests.
QUICK = {"int8": ("Dense", "ReversibleEmbedding", "inside another layer"), "int4": ("EinsumDense",)}
UNREADABLE = ("inside another layer", "MultiHeadAttention")  # by Keras itself


def quantized(name, mode):
    keras.utils.set_random_seed(0)
    model = MODELS[name]()
    for variable in model.weights:
        if "bias" in variable.name:
            variable.assign(np.random.default_rng(2).normal(size=variable.shape))
    model.quantize(mode)
    return model, IDS if "Embedding" in name else VECTORS


def distance(wanted, found):
    return 10 * np.log10((wanted**2).sum() / max(((wanted - found) ** 2).sum(), 1e-30))


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method", "ignore:Invalid quantization mode")
class TestQuantizedByKeras:
    @pytest.mark.parametrize(
        ("name", "mode"),
        [
            pytest.param(name, mode, marks=[] if name in QUICK[mode] else pytest.mark.slow)
            for name in MODELS for mode in QUICK
        ],
    )  # fmt: skip
    def test_the_float_model_computes_the_same(self, name, mode):
        model, data = quantized(name, mode)
        made, note = dequantized(model)
        assert mode in note
        wanted, found = model.predict(data, verbose=0), made.predict(data, verbose=0)
        # Keras rounds the activations of int8 layers as well; weights of 4 bits are all that it rounds.
        assert distance(wanted, found) >= (30.0 if mode == "int8" else 100.0)
        assert not dequantized(made)[1]

    @pytest.mark.parametrize("mode", ["gptq", pytest.param("awq", marks=pytest.mark.slow)])
    def test_weights_that_data_have_quantized(self, mode):
        keras.utils.set_random_seed(0)
        ids, embedding = keras.Input((6,), dtype="int32"), L.Embedding(20, 8)
        block = keras.Sequential([keras.Input((6, 8)), L.Dense(8, activation="relu")], name="block")
        model = keras.Model(ids, L.Dense(4)(block(embedding(ids))))
        config = {"gptq": keras.quantizers.GPTQConfig, "awq": keras.quantizers.AWQConfig}[mode](
            dataset=[row[None] for row in IDS[:16]], tokenizer=lambda rows: rows, num_samples=16, sequence_length=6, group_size=8,
            quantization_layer_structure={"pre_block_layers": [embedding], "sequential_blocks": [block]},
        )  # fmt: skip
        before = model.predict(IDS, verbose=0)
        model.quantize(mode, config=config)
        wanted = model.predict(IDS, verbose=0)
        made, note = dequantized(model)
        assert mode in note and np.abs(wanted - before).max() > 1e-4
        np.testing.assert_allclose(made.predict(IDS, verbose=0), wanted, atol=1e-5)
        assert tfopt.convert(model, representative_data=IDS, runs=1, verbose=False).check.passed

    def test_float8_keeps_its_weights(self):
        model, _ = quantized("Dense", "float8")
        made, note = dequantized(model)
        assert "float8" in note
        np.testing.assert_array_equal(made.layers[1].kernel, model.layers[1].kernel)

    @pytest.mark.parametrize("mode", ["int8", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("int4", "float8"))])
    def test_a_file_loads_and_converts(self, mode, tmp_path):
        model, data = quantized("Dense", mode)
        model.save(tmp_path / "quantized.keras")
        wanted = dequantized(model)[0].predict(data, verbose=0)
        loaded = tfopt.load(tmp_path / "quantized.keras")
        np.testing.assert_allclose(loaded.predict(data, verbose=0), wanted, atol=1e-5)
        result = tfopt.convert(tmp_path / "quantized.keras", representative_data=data, runs=1, verbose=False)
        assert result.check.passed and any("dequantized" in note for note in result.notes)

    @pytest.mark.parametrize("name", [UNREADABLE[0], pytest.param(UNREADABLE[1], marks=pytest.mark.slow)])
    def test_what_keras_cannot_read_again_converts_in_memory(self, name, tmp_path):
        model, data = quantized(name, "int8")
        result = tfopt.convert(model, representative_data=data, runs=1, verbose=False)
        assert result.check.passed and any("dequantized" in note for note in result.notes)
        model.save(tmp_path / "quantized.keras")
        with pytest.raises(tfopt.LoadError, match="in memory"):
            tfopt.load(tmp_path / "quantized.keras")

    @pytest.mark.parametrize(
        "train",
        [lambda model: tfopt.prune(model, 0.5), tfopt.quantize_aware, lambda model: tfopt.low_rank(model, 2, verbose=False)],
        ids=["prune", "quantize_aware", "low_rank"],
    )
    def test_it_is_trained_as_floats_only(self, train, tmp_path):
        model, _ = quantized("Dense", "int8")
        with pytest.raises(tfopt.ArgumentError, match=r"dense.*tfopt\.load"):
            train(model)
        model.save(tmp_path / "quantized.keras")
        train(tfopt.load(tmp_path / "quantized.keras"))
