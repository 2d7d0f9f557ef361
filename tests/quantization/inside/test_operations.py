"""Operations that a layer of the caller's own computes are rounded one by one, as in the file."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from quantized_layers import float_ops, parity, to_int8

import tfopt
from tfopt.quantization.inside.operations import computes_itself

X = np.random.default_rng(0).normal(size=(128, 6, 8)).astype("float32")


@keras.saving.register_keras_serializable("test_operations")
class Scaled(layers.Layer):
    """A normalization by the root of the mean square, as users write it."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="zeros", name="scale")

    def call(self, x):
        return x * ops.reciprocal(ops.sqrt(ops.mean(ops.square(x), -1, keepdims=True) + 1e-6)) * (1.0 + self.scale)


@keras.saving.register_keras_serializable("test_operations")
class Rotated(layers.Layer):
    """A query that is normalized, turned by its position, gated, and added to the input; and attention of bare operations."""

    def build(self, shape):
        self.query, self.out, self.normal = layers.Dense(16, name="query"), layers.Dense(8, name="out"), Scaled(name="normal")
        self.query.build(shape)
        self.normal.build((*shape[:-1], 16))
        self.out.build((*shape[:-1], 16))

    def call(self, x, training=False):
        query = self.normal(self.query(x))
        if training:
            query = query * ops.ones_like(query)  # an operation that inference does not have comes last of its kind
        first, second = ops.split(query, 2, axis=-1)
        turned = ops.concatenate([-second, first], -1)
        places = ops.cast(ops.arange(6), "float32")[:, None] * ops.power(10.0, -ops.cast(ops.arange(16), "float32") / 16)
        query = query * ops.cos(places) + turned * ops.sin(places)
        size = ops.shape(query)[0]  # known or not, from call to call
        scores = ops.softmax(ops.einsum("bqc,bkc->bqk", query, query) * 0.25)
        mixed = ops.reshape(ops.einsum("bqk,bkc->bqc", scores, query), (size, 6, 16))
        return x + self.out(keras.activations.gelu(mixed, approximate=True) * mixed)


def trained(*inner, **options):
    """A model with these layers between two others, and the quantization-aware one made of it after a few steps."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 8))
    x = layers.Dense(8)(inputs)
    for layer in inner:
        x = layer(x)
    model = keras.Model(inputs, layers.Dense(4)(x))
    for index, weight in enumerate(model.weights):
        weight.assign(0.4 * np.random.default_rng(index).normal(size=weight.shape))
    qat = tfopt.quantize_aware(model, verbose=False)
    qat.compile(keras.optimizers.SGD(1e-3), "mse", **options)
    qat.fit(X, model.predict(X, verbose=0), epochs=1, verbose=0)
    return qat


def test_a_normalization_of_ones_own():
    qat = trained(Scaled(name="normal"))
    (wrapper,) = (layer for layer in qat.layers if layer.name.startswith("normal") and hasattr(layer, "quantizers"))
    # The root and the reciprocal are one table, and are rounded once; `1 + scale` is a constant of the file.
    assert sorted(wrapper.quantizers) == ["own/AddV2_1", "own/Mean", "own/Mul", "own/Reciprocal", "own/Square"]
    assert f"{wrapper.name}_quantize" in [layer.name for layer in qat.layers]  # its output, as of any layer
    interpreter = to_int8(qat, X)
    assert not float_ops(interpreter)
    assert parity(qat, interpreter, X)[0].most_error_lsb <= 3


@pytest.mark.slow
def test_a_layer_with_operations_between_its_layers(tmp_path):
    qat = trained(Rotated(name="rotated"))
    assert not tfopt.quantization_report(qat).unseen
    qat.save(tmp_path / "qat.keras")
    loaded = keras.saving.load_model(tmp_path / "qat.keras")
    expected = qat.predict(X, verbose=0)
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), expected)
    np.testing.assert_allclose(qat(X), expected, atol=1e-5)  # outside of a graph
    assert isinstance(tfopt.strip_quantization(qat).layers[2], Rotated)
    result = tfopt.convert(qat, validation_data=X, runs=1, verbose=False)
    assert result.check.passed, result.check.reasons
    assert result.check.outputs[0].most_error_lsb <= 4


@pytest.mark.slow
def test_training_outside_of_graphs_rounds_alike():
    one, other = trained(Rotated(name="rotated")), trained(Rotated(name="rotated"), run_eagerly=True)
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_learned_ranges_of_operations_train():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6, 8)), layers.Dense(8), Rotated(), layers.Dense(4)])
    qat = tfopt.quantize_aware(model, ranges="learned", verbose=False)
    qat.compile(keras.optimizers.SGD(1.0), "mse")
    qat.train_on_batch(X[:32], model.predict(X[:32], verbose=0))
    before = {each.path: np.array(each) for each in qat.trainable_weights if "own" in each.path}
    qat.train_on_batch(X[:32], model.predict(X[:32], verbose=0))
    assert before
    moved = [not np.array_equal(before[each.path], each) for each in qat.trainable_weights if each.path in before]
    assert sum(moved) > len(moved) / 2


def test_data_of_any_batch_size_reach_every_range():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6, 8)), layers.Dense(8), Rotated(), layers.Dense(4)])
    qat = tfopt.calibrate(tfopt.quantize_aware(model, verbose=False), X[:100], batch_size=64, verbose=False)
    assert not tfopt.quantization_report(qat).unseen


class Pooled(layers.Layer):
    """The mean over the steps that are no padding."""

    def call(self, x, mask=None):
        weights = ops.cast(mask, x.dtype)[..., None]
        return ops.sum(x * weights, 1) / ops.sum(weights, 1)


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_masks_reach_a_layer_of_operations_in_training(run_eagerly):
    keras.utils.set_random_seed(0)
    embedded = [layers.Embedding(9, 8, mask_zero=True), Pooled(), layers.Dense(2)]
    model = keras.Sequential([keras.Input((6,), dtype="int32"), *embedded])
    ids = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 6, 7, 8, 1]] * 8)
    qat = tfopt.quantize_aware(model, verbose=False)
    qat.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=run_eagerly)
    assert qat.train_on_batch(ids, model.predict(ids, verbose=0)) < 1e-5


class Joined(layers.Layer):
    """Scores that are masked, and one more beside them."""

    def call(self, x):
        masked = ops.where(x > 0.5, x, -1e9)
        return ops.softmax(ops.concatenate([masked, ops.ones_like(x[..., :1])], -1))


def test_a_number_that_means_masked_is_no_range():
    qat = trained(Joined(name="joined"))
    (wrapper,) = (layer for layer in qat.layers if layer.name.startswith("joined") and hasattr(layer, "quantizers"))
    assert list(wrapper.quantizers) == ["own/Softmax"]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.Dense(2), False),
        (type("MyDense", (layers.Dense,), {"__module__": "mine"})(2), False),
        (Scaled(), True),
        (type("MyScaled", (Scaled,), {"__module__": "mine"})(), True),
    ],
    ids=["of Keras", "derived from a layer of Keras", "own", "derived from an own one"],
)
def test_which_layers_are_seen(layer, expected):
    assert computes_itself(layer) is expected
