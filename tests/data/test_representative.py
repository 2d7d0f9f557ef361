"""Representative data are drawn fairly and in little memory; constant data are refused."""

import collections
import weakref

import numpy as np
import pytest
import tensorflow as tf
from drawing import ROWS, draw, specs_of

import tfopt
from tfopt.data import representative
from tfopt.data.signature import TensorSpec

COUNTED = np.arange(1, 41, dtype="float32").reshape(40, 1)
# The same samples, where their number is known and where only reading tells.
KINDS = {
    "array": COUNTED,
    "tf.data": tf.data.Dataset.from_tensor_slices(COUNTED).batch(7),
    "function of samples": lambda: iter(COUNTED),
    "function of batches": lambda: iter(np.split(COUNTED, 5)),
}


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


@pytest.mark.parametrize("make", [lambda data: data, lambda data: lambda: iter(data)], ids=["array", "function"])
@pytest.mark.parametrize(
    ("data", "dtype", "received"),
    [
        (np.full((6, 4), 7.0), "float32", "every drawn value of .* is 7.0"),
        (np.zeros((6, 4), "int32"), "int32", "every drawn value of .* is 0"),
    ],
    ids=["floats", "ids"],
)
def test_constant_data_are_refused(data, dtype, received, make):
    with pytest.raises(tfopt.DataError, match=f"Received: .*{received}"):
        draw(make(data), specs_of((4,), dtype=dtype))


def test_one_constant_input_among_several_is_noted():
    drawn = draw((ROWS, np.ones((6, 2))), specs_of((4,), (2,)))
    assert drawn.notes == ("input 'y' is constant in the representative data",)


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
