"""Inputs that are not plain numbers: additive masks, ids given as floats, and the states of a streaming ConvLSTM."""

import keras
import numpy as np
import pytest

import tfopt

layers, ops = keras.layers, keras.ops
COUNT, STEPS = 200, 6
FAR = -1e9


def generator(seed=0):
    return np.random.default_rng(seed)


def scores():
    return generator().normal(size=(COUNT, STEPS)).astype("float32")


def sequences():
    return generator().normal(size=(COUNT, STEPS, 8)).astype("float32")


def valid():
    """Which of the steps of each sample are no padding."""
    return np.arange(STEPS)[None] < generator(1).integers(2, STEPS + 1, COUNT)[:, None]


class Masked(layers.Layer):
    """A softmax of scores to which a mask is added."""

    def call(self, given, mask):
        return ops.softmax(given + mask)


class Attention(layers.Layer):
    """Attention with a bias of scores, as it is exported."""

    def call(self, x, mask):
        heads = ops.reshape(x, (-1, STEPS, 2, 4))
        return ops.reshape(ops.dot_product_attention(heads, heads, heads, bias=mask[:, None, None]), (-1, STEPS, 8))


def simple(add):
    x, mask = keras.Input((STEPS,), name="x"), keras.Input((STEPS,), name="mask")
    return keras.Model([x, mask], layers.Dense(4)(add(layers.Dense(STEPS)(x), mask)))


def attention():
    x, mask = keras.Input((STEPS, 8), name="x"), keras.Input((STEPS,), name="mask")
    return keras.Model([x, mask], layers.Dense(4)(Attention()(x, mask)))


def additive():
    return np.where(valid(), 0.0, FAR).astype("float32")


MASKS = {
    "layer": lambda: (simple(Masked()), {"x": scores(), "mask": additive()}),
    "functional": lambda: (simple(lambda x, mask: ops.softmax(x + mask)), {"x": scores(), "mask": additive()}),
    "attention": lambda: (attention(), {"x": sequences(), "mask": additive()}),
    "ones and zeros": lambda: (
        simple(lambda x, mask: ops.softmax(x + (1.0 - mask) * FAR)),
        {"x": scores(), "mask": valid().astype("float32")},
    ),
}


def of_ids(width, make, shape=None):
    ids = keras.Input(shape or (width,), name="ids")
    data = generator().integers(0, 20, (COUNT, *(shape or (width,)))).astype("float32")
    return keras.Model(ids, layers.Dense(4)(make(ids))), data


def columns(ids):
    return layers.Concatenate()([layers.Embedding(20, 4)(ids[:, place]) for place in range(3)])


FLOAT_IDS = {
    "reshaped": lambda: of_ids(6, lambda ids: layers.Flatten()(layers.Embedding(20, 8)(layers.Reshape((6,))(ids))), shape=(6, 1)),
    "category": lambda: of_ids(1, layers.CategoryEncoding(20, "one_hot")),
    "columns": lambda: of_ids(3, columns),
}


def streaming(dimensions, sequence):
    """A ConvLSTM whose states are inputs and outputs."""
    shape = (8,) * dimensions
    kind = getattr(layers, f"ConvLSTM{dimensions}D")
    x = keras.Input((2 if sequence else 1, *shape, 2), name="x")
    states = [keras.Input((*shape, 4), name=name) for name in ("h", "c")]
    y, *after = kind(4, 3, padding="same", return_state=True, return_sequences=sequence)(x, initial_state=states)
    data = {"x": generator().normal(size=(100, *x.shape[1:])), "c": generator(1).normal(size=(100, *shape, 4))}
    data["h"] = np.tanh(generator(2).normal(size=(100, *shape, 4))) / 2
    return keras.Model([x, *states], [y, *after]), {name: array.astype("float32") for name, array in data.items()}


def converted(model, data):
    return tfopt.convert(model, representative_data=data, runs=1, verbose=False)


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_that_is_an_input_leaves_the_scores_their_range(name):
    result = converted(*MASKS[name]())
    assert result.check.passed and not result.check.structure.float_ops
    assert result.check.outputs[0].sqnr >= 25.0


def test_a_bias_that_is_an_input_is_no_mask():
    model = simple(Masked())
    result = converted(model, {"x": scores(), "mask": generator(3).normal(size=(COUNT, STEPS)).astype("float32")})
    assert result.check.passed and "attention" not in result.lowered


@pytest.mark.parametrize("name", FLOAT_IDS)
def test_ids_given_as_floats_are_whole_numbers_in_the_file(name):
    result = converted(*FLOAT_IDS[name]())
    assert result.check.passed and not result.check.structure.float_ops
    assert [tensor.dtype for tensor in result.check.structure.inputs] == ["int32"]
    assert result.check.outputs[0].sqnr >= 30.0


@pytest.mark.slow
@pytest.mark.parametrize(("dimensions", "sequence"), [(1, True), (2, False)])
def test_a_streaming_convlstm_is_int8(dimensions, sequence):
    result = converted(*streaming(dimensions, sequence))
    assert result.check.passed and not result.check.structure.float_ops
    assert min(output.sqnr for output in result.check.outputs) >= 25.0
