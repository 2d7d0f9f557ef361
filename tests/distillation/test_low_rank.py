"""`low_rank`: at full energy the model computes the same, below it the nearest, and it costs less."""

import keras
import numpy as np
import pytest
from keras import layers

import tfopt

RNG = np.random.default_rng(0)
CASES = {
    "Dense": ((6, 40), lambda: layers.Dense(48, activation="relu", name="change")),
    "EinsumDense": ((6, 40), lambda: layers.EinsumDense("abc,cde->abde", (None, 6, 8), bias_axes="de", name="change")),
    "EinsumDense, ellipsis": ((6, 40), lambda: layers.EinsumDense("...x,xy->...y", 48, activation="tanh", name="change")),
    "EinsumDense, two axes": ((6, 4, 10), lambda: layers.EinsumDense("abcd,cde->abe", (None, 48), name="change")),
    "Conv1D": ((9, 12), lambda: layers.Conv1D(30, 3, dilation_rate=2, padding="causal", activation="gelu", name="change")),
    "Conv2D": ((9, 9, 8), lambda: layers.Conv2D(40, 3, strides=2, padding="same", use_bias=False, name="change")),
    "Conv2D, 1 x 1": ((5, 5, 30), lambda: layers.Conv2D(40, 1, activation="relu", name="change")),
    "Conv3D": ((5, 5, 5, 8), lambda: layers.Conv3D(20, 2, name="change")),
}


def thin(layer, rank):
    """Gives a layer a kernel of a rank, as a matrix from the axes that are summed over to the others."""
    shape = layer.kernel.shape
    split = len(shape) - 1 if "Einsum" not in type(layer).__name__ or len(layer.input.shape) == 4 else 1
    left, right = int(np.prod(shape[:split])), int(np.prod(shape[split:]))
    layer.kernel.assign((RNG.normal(size=(left, rank)) @ RNG.normal(size=(rank, right))).reshape(shape))
    if layer.bias is not None:
        layer.bias.assign(RNG.normal(size=layer.bias.shape))


def model_of(name):
    shape, make = CASES[name]
    keras.utils.set_random_seed(0)
    source = keras.Input(shape)
    model = keras.Model(source, layers.Flatten()(make()(source)))
    thin(model.get_layer("change"), 4)
    return model, RNG.normal(size=(5, *shape)).astype("float32")


@pytest.mark.parametrize("name", CASES)
def test_a_kernel_of_low_rank_loses_nothing(name, tmp_path):
    model, x = model_of(name)
    before = [value.copy() for value in model.get_weights()]
    small = tfopt.low_rank(model, rank=4)
    expected = model(x).numpy()
    np.testing.assert_allclose(small(x), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    (row,) = tfopt.low_rank_report(model, small).rows
    assert (row.name, row.rank) == ("change", 4) and row.error < 1e-5
    kernels = [int(np.prod(small.get_layer(each).kernel.shape)) for each in ("change_in", "change")]
    assert row.weights == (int(np.prod(model.get_layer("change").kernel.shape)), sum(kernels))
    assert row.weights[1] < row.weights[0]
    for value, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)
    small.save(tmp_path / "small.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "small.keras")(x), small(x), atol=1e-5)


def test_multiplications_are_counted_by_position():
    model, _ = model_of("Conv2D")
    (row,) = tfopt.low_rank_report(model, tfopt.low_rank(model, rank=4)).rows
    assert row.macs == (5 * 5 * 3 * 3 * 8 * 40, 5 * 5 * 4 * (3 * 3 * 8 + 40))
    model, _ = model_of("EinsumDense")
    (row,) = tfopt.low_rank_report(model, tfopt.low_rank(model, rank=4)).rows
    assert row.macs == (6 * 40 * 48, 6 * 4 * (40 + 48))


def test_energy_chooses_the_least_rank_and_its_error():
    kernel = RNG.normal(size=(60, 50)).astype("float32") @ np.diag(0.8 ** np.arange(50)).astype("float32")
    model = keras.Sequential([keras.Input((60,)), layers.Dense(50, name="change"), layers.Dense(3, name="last")])
    model.get_layer("change").kernel.assign(kernel)
    small = tfopt.low_rank(model, energy=0.95)
    singular = np.linalg.svd(kernel, compute_uv=False) ** 2
    (row,) = tfopt.low_rank_report(model, small).rows
    assert singular[: row.rank].sum() >= 0.95 * singular.sum() > singular[: row.rank - 1].sum()
    assert row.error == pytest.approx(np.sqrt(singular[row.rank :].sum() / singular.sum()), rel=1e-3)
    assert [layer.name for layer in small.layers[1:]] == ["change_in", "change", "last"], "the last one would not get cheaper"
    report = tfopt.low_rank_report(model, small)
    lines = str(report).splitlines()
    assert lines[0].split() == ["layer", "rank", "error", "weights", "multiplications"]
    assert [line.split()[0] for line in lines[1:]] == ["change", "sum"]
    change = f"3,000 -> {row.rank * 110:,}"
    assert all(line.count(change) == 2 for line in lines[1:]), "of a Dense as many multiplications as weights"
    assert repr(report) == f"LowRankReport(1 layer, weights {change})"
    assert f"<td>{change.replace('>', '&gt;')}</td>" in report._repr_html_()


def test_nested_and_shared_layers_and_selection():
    inner = keras.Sequential([keras.Input((40,)), layers.Dense(40, name="deep")], name="inner")
    a, b = keras.Input((40,), name="a"), keras.Input((40,), name="b")
    shared = layers.Dense(40, name="shared")
    model = keras.Model([a, b], inner(layers.Add()([shared(a), shared(b)])))
    x = [RNG.normal(size=(3, 40)).astype("float32") for _ in range(2)]
    for layer in (shared, inner.get_layer("deep")):
        thin(layer, 3)
    small = tfopt.low_rank(model, 3)
    np.testing.assert_allclose(small(x), model(x), rtol=1e-3, atol=1e-2)
    assert {row.name for row in tfopt.low_rank_report(model, small).rows} == {"deep", "shared"}
    assert small.count_params() == 2 * (2 * 3 * 40 + 40)
    only = tfopt.low_rank(model, 3, exclude="inner/*")
    assert {row.name for row in tfopt.low_rank_report(model, only).rows} == {"shared"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "One of `rank` and `energy` must be given"),
        ({"rank": 2, "energy": 0.5}, "One of `rank` and `energy` must be given"),
        ({"rank": 0}, "int of at least 1, or a float between 0 and 1. Received: rank=0"),
        ({"energy": 1.5}, "`energy` must be a float between 0 and 1"),
        ({"rank": 39}, "layers that get cheaper"),
        ({"rank": 2, "include": "chnge"}, "Closest: change"),
    ],
)
def test_refusals(options, message):
    model, _ = model_of("Dense")
    with pytest.raises(tfopt.ArgumentError, match=message):
        tfopt.low_rank(model, **options)


def test_refuses_what_has_no_graph():
    with pytest.raises(tfopt.ArgumentError, match="Functional Keras 3 model"):
        tfopt.low_rank(keras.Sequential([layers.Dense(3)]), 2)
