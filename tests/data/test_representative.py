"""Representative data are drawn fairly, in little memory, and checked before the converter starts."""

import collections
import weakref

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.data import representative
from tfopt.data.open_samples import open_samples
from tfopt.data.scaling_notes import scaling_notes
from tfopt.data.signature import TensorSpec

ROWS = np.random.default_rng(0).random((6, 4), dtype="float32")
COUNTED = np.arange(1, 41, dtype="float32").reshape(40, 1)
# The same samples, where their number is known and where only reading tells.
KINDS = {
    "array": COUNTED,
    "tf.data": tf.data.Dataset.from_tensor_slices(COUNTED).batch(7),
    "function of samples": lambda: iter(COUNTED),
    "function of batches": lambda: iter(np.split(COUNTED, 5)),
}


def specs_of(*shapes, dtype="float32"):
    return [TensorSpec(name, (1, *shape), dtype) for name, shape in zip("xyz", shapes, strict=False)]


def draw(data, specs=None, *, count=10, seed=0):
    specs = specs or specs_of((1,))
    return representative.draw(open_samples(data, specs), specs, count, seed)


@pytest.mark.parametrize("data", KINDS.values(), ids=KINDS)
def test_draw_is_seeded_and_without_replacement(data):
    drawn = draw(data)
    values = drawn.arrays["x"].ravel().tolist()
    assert drawn.count == len(values) == len(set(values)) == 10 and set(values) <= set(COUNTED.ravel())
    np.testing.assert_array_equal(draw(data).arrays["x"], drawn.arrays["x"])
    assert set(draw(data, seed=1).arrays["x"].ravel()) != set(values)
    assert drawn.calibrated and not drawn.notes


@pytest.mark.parametrize("data", [COUNTED, lambda: iter(COUNTED)], ids=["known length", "unknown length"])
def test_each_sample_is_equally_likely(data):
    """10 of 40 in 400 draws: each 100 times, with a standard deviation of 8.7; five of these are allowed."""
    times = collections.Counter()
    for seed in range(400):
        times.update(draw(data, seed=seed).arrays["x"].ravel().tolist())
    assert set(times) == set(COUNTED.ravel().tolist())
    assert max(abs(number - 100) for number in times.values()) < 5 * 8.7


@pytest.mark.parametrize("data", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("count", [40, 41, 10**15])
def test_all_are_drawn_where_there_are_not_more(data, count):
    drawn = draw(data, count=count)
    assert drawn.count == 40
    assert sorted(drawn.arrays["x"].ravel()) == COUNTED.ravel().tolist()


def never_ending(shape=(1,), limit=10_000):
    """Counts without end; who reads far beyond what is needed is stopped at `limit`, so that the test does end."""
    yield from (np.full(shape, index, "float32") for index in range(limit))
    raise RuntimeError("read on for ever")


ENDLESS = {
    "function": never_ending,
    "function of batches": lambda: never_ending((5, 1)),
    "tf.data of unknown length": tf.data.Dataset.from_tensor_slices(COUNTED).repeat(100).filter(lambda _: True),
}


@pytest.mark.parametrize("data", ENDLESS.values(), ids=ENDLESS)
def test_endless_data_are_drawn_from_their_beginning(data, monkeypatch):
    monkeypatch.setattr(representative, "ENDLESS_LIMIT", 30)
    drawn = draw(data)
    assert drawn.count == 10 and drawn.arrays["x"].max() <= 30
    assert any("first 30 samples" in note for note in drawn.notes)


@pytest.mark.parametrize(
    ("data", "limit", "expected"),
    [(lambda: iter(COUNTED), 30, 30), (lambda: iter(COUNTED), 50, 40), (KINDS["tf.data"], 30, 40), (COUNTED, 30, 40)],
    ids=["longer function", "shorter function", "finite tf.data", "array"],
)
def test_only_data_that_may_be_endless_are_cut(data, limit, expected, monkeypatch):
    monkeypatch.setattr(representative, "ENDLESS_LIMIT", limit)
    drawn = draw(data, count=100)
    assert drawn.count == expected
    assert any("first 30 samples" in note for note in drawn.notes) == (expected == 30)


@pytest.mark.parametrize(("shape", "elements"), [((4,), 2000), ((20, 4), 100)], ids=["samples", "batches of 20"])
def test_memory_is_that_of_the_drawn_samples(shape, elements):
    """Of a stream no more lives than what was drawn and the elements at hand."""
    alive, most = weakref.WeakValueDictionary(), 0

    def stream():
        nonlocal most
        for index in range(elements):
            element = alive[index] = np.random.default_rng(index).random(shape, dtype="float32")
            most = max(most, len(alive))
            yield element

    assert draw(stream, specs_of((4,)), count=50).count == 50
    samples_each = shape[0] if len(shape) == 2 else 1
    assert most * samples_each <= 50 + 3 * samples_each


# {id: (data, dtype of the input, whether a note tells of the conversion)}
CONVERTED = {
    "float32": (ROWS, "float32", False),
    "float64": (ROWS.astype("float64"), "float32", False),
    "float16": (ROWS.astype("float16"), "float32", False),
    "bfloat16": (ROWS.astype(ml_dtypes.bfloat16), "float32", False),
    "big-endian": (ROWS.astype(">f4"), "float32", False),
    "uint8 pixels": (np.arange(24, dtype="uint8").reshape(6, 4), "float32", True),
    "bool": (ROWS > 0.5, "float32", True),
    "int32 ids": (np.arange(24, dtype="int32").reshape(6, 4), "int32", False),
    "int64 ids": (np.arange(24, dtype="int64").reshape(6, 4), "int32", True),
    "whole floats to ids": (np.arange(24, dtype="float64").reshape(6, 4), "int32", True),
}


@pytest.mark.parametrize(("data", "dtype", "noted"), CONVERTED.values(), ids=CONVERTED)
def test_data_become_the_dtype_of_the_input(data, dtype, noted):
    drawn = draw(data, specs_of((4,), dtype=dtype))
    assert drawn.arrays["x"].dtype == dtype
    np.testing.assert_array_equal(drawn.arrays["x"], data.astype(dtype))
    assert list(drawn.notes) == ([f"input 'x': {data.dtype} data were converted to {dtype}"] if noted else [])


def spoiled(value, dtype="float64"):
    """Six good samples, but for one value in sample 3."""
    data = np.arange(24).reshape(6, 4).astype(dtype)
    data[3, 1] = value
    return data


REFUSED = {
    "NaN": (spoiled(np.nan), "float32", "NaN or infinity in sample 3"),
    "infinity": (spoiled(np.inf), "float32", "NaN or infinity in sample 3"),
    "minus infinity": (spoiled(-np.inf, "float16"), "float32", "NaN or infinity in sample 3"),
    "NaN in bfloat16": (spoiled(np.nan, ml_dtypes.bfloat16), "float32", "NaN or infinity in sample 3"),
    "NaN to an int input": (spoiled(np.nan), "int32", "NaN or infinity in sample 3"),
    "beyond float32": (spoiled(1e300), "float32", "sample 3"),
    "fractions to an int input": (spoiled(0.5), "int32", "fractions in sample 3"),
    "id beyond int32": (spoiled(2**33, "int64"), "int32", "sample 3"),
    "float id beyond int32": (spoiled(2.0**33), "int32", "sample 3"),
    "negative to uint8": (spoiled(-1), "uint8", "sample 3"),
    "text": (spoiled(1).astype(str), "float32", "<U32 in sample 0"),
    "complex": (spoiled(1).astype(complex), "float32", "complex128 in sample 0"),
    "objects": (spoiled(1).astype(object), "float32", "object in sample 0"),
    "constant": (np.full((6, 4), 7.0), "float32", "every drawn value of .* is 7.0"),
    "constant ids": (np.zeros((6, 4), "int32"), "int32", "every drawn value of .* is 0"),
}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast", "ignore:invalid value encountered in cast")
@pytest.mark.parametrize("make", [lambda data: data, lambda data: lambda: iter(data)], ids=["array", "function"])
@pytest.mark.parametrize(("data", "dtype", "received"), REFUSED.values(), ids=REFUSED)
def test_unusable_values_are_refused(data, dtype, received, make):
    with pytest.raises(tfopt.DataError, match=f"Received: .*{received}"):
        draw(make(data), specs_of((4,), dtype=dtype))


def test_one_constant_input_among_several_is_noted():
    drawn = draw((ROWS, np.ones((6, 2))), specs_of((4,), (2,)))
    assert drawn.notes == ("input 'y' is constant in the representative data",)


IMAGES = np.random.default_rng(0).random((6, 8, 8, 1), dtype="float32")
MISSHAPEN = {
    "no channel": (IMAGES[..., 0], specs_of((8, 8, 1)), (8, 8), "x[..., None]"),
    "another size": (IMAGES[:, :4], specs_of((8, 8, 1)), (4, 8, 1), "as for training"),
    "channels first": (IMAGES.transpose(0, 3, 1, 2), specs_of((8, 8, 1)), (1, 8, 8), "as for training"),
    "swapped inputs": ((ROWS, ROWS[:, :2]), specs_of((2,), (4,)), (4,), "give a dict by name"),
    "one wrong input of two": ((ROWS, ROWS), specs_of((4,), (2,)), (4,), "as for training"),
    "samples in place of a batch": (ROWS[0], specs_of((4,)), (), "as for training"),
}


@pytest.mark.parametrize(("data", "specs", "shape", "advice"), MISSHAPEN.values(), ids=MISSHAPEN)
def test_wrong_shapes_come_with_advice(data, specs, shape, advice):
    with pytest.raises(tfopt.DataError) as caught:
        draw(data, specs)
    message = str(caught.value)
    assert f"Received: {shape} in sample 0" in message and advice in message


def test_images_of_unequal_sizes_are_refused():
    with pytest.raises(tfopt.DataError, match=r"Received: \(4, 8, 1\) in sample 2"):
        draw(lambda: iter([*IMAGES[:2], IMAGES[2, :4]]), specs_of((8, 8, 1)))


def test_synthetic_data_are_marked():
    specs = [TensorSpec("x", (1, 4, 2), "float32"), TensorSpec("ids", (1, 3), "int32")]
    made = representative.synthetic(specs, 20, 0)
    assert not made.calibrated and made.count == 20 and made.source == "synthetic"
    assert any("UNCALIBRATED" in note for note in made.notes)
    assert made.arrays["x"].shape == (20, 4, 2) and made.arrays["x"].dtype == "float32"
    assert 0 <= made.arrays["x"].min() < 0.1 and 0.9 < made.arrays["x"].max() < 1
    np.testing.assert_array_equal(made.arrays["ids"], np.zeros((20, 3), "int32"), strict=True)
    np.testing.assert_array_equal(representative.synthetic(specs, 20, 0).arrays["x"], made.arrays["x"])
    assert (representative.synthetic(specs, 20, 1).arrays["x"] != made.arrays["x"]).any()


def normalization(mean, deviation):
    layer = keras.layers.Normalization(mean=[mean] * 3, variance=[deviation**2] * 3)
    layer.build((None, 8, 8, 3))
    return layer


def images(low, high):
    return {"x": np.linspace(low, high, 5 * 8 * 8 * 3, dtype="float32").reshape(5, 8, 8, 3)}


RAW, SCALED, SIGNED = images(0, 255), images(0, 1), images(-1, 1)
# {id: (the layer that the model begins with, data, what the note says, "" for none)}
SCALING = {
    "none, scaled": (None, SCALED, ""),
    "none, signed": (None, SIGNED, ""),
    "none, standardized": (None, images(-3, 20), ""),
    "none, raw": (None, RAW, "does not begin with Rescaling"),
    "none, raw grey": (None, {"x": RAW["x"][..., :1]}, "does not begin with Rescaling"),
    "none, a table": (None, {"x": RAW["x"].reshape(5, -1)}, ""),
    "none, 8 channels": (None, {"x": RAW["x"].reshape(5, 8, 3, 8)}, ""),
    "none, raw in uint8": (None, {"x": RAW["x"].astype("uint8")}, ""),
    "none, two inputs": (None, {"x": RAW["x"], "y": RAW["x"]}, ""),
    "Rescaling to 0..1, raw": (keras.layers.Rescaling(1 / 255), RAW, ""),
    "Rescaling to 0..1, scaled": (keras.layers.Rescaling(1 / 255), SCALED, "look scaled already"),
    "Rescaling to -1..1, raw": (keras.layers.Rescaling(1 / 127.5, offset=-1), RAW, ""),
    "Rescaling to -1..1, signed": (keras.layers.Rescaling(1 / 127.5, offset=-1), SIGNED, "look scaled already"),
    "Rescaling by channel, raw": (keras.layers.Rescaling([1 / 255] * 3), RAW, ""),
    "Rescaling by channel, scaled": (keras.layers.Rescaling([1 / 255] * 3), SCALED, "look scaled already"),
    "Rescaling of 0..1, scaled": (keras.layers.Rescaling(2.0, offset=-1), SCALED, ""),
    "Rescaling of 0..1, dark": (keras.layers.Rescaling(2.0, offset=-1), images(0, 0.02), ""),
    "Rescaling of 0..1, raw": (keras.layers.Rescaling(2.0, offset=-1), RAW, "[0, 255]"),
    "Normalization of 0..255, raw": (normalization(120, 60), RAW, ""),
    "Normalization of 0..255, scaled": (normalization(120, 60), SCALED, "look scaled already"),
    "Normalization of 0..1, scaled": (normalization(0.45, 0.22), SCALED, ""),
    "Normalization of 0..1, raw": (normalization(0.45, 0.22), RAW, "[0, 255]"),
}


@pytest.mark.parametrize(("layer", "arrays", "said"), SCALING.values(), ids=SCALING)
def test_wrong_scaling_is_noted_and_right_scaling_is_not(layer, arrays, said):
    notes = scaling_notes(layer, arrays)
    assert len(notes) == bool(said)
    assert all(said in note for note in notes)
