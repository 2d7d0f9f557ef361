"""`Tally` adds up over batches what NumPy computes on everything at once."""

import math

import numpy as np
import pytest
from fake_files import FakeFile

import tfopt
from tfopt.checking.output_errors import Tally, decibel
from tfopt.checking.settings import CheckSettings

SCALE = 0.05


def tally_of(found, wanted, *, batch_size=1, labels=None, scale=SCALE):
    """A `Tally` of given outputs against others (None for no reference), in batches of which the last is filled up."""
    rows = iter(batches_of(found, batch_size))
    file = FakeFile({"x": (batch_size, 1)}, {"score": (batch_size, 4)}, lambda arrays: next(rows), scale)
    tally = Tally(file, compared=wanted is not None)
    count = len(found[0])
    labels = [None] * count if labels is None else labels
    for place, start in enumerate(range(0, count, batch_size)):
        reference = None if wanted is None else lambda arrays, place=place: batches_of(wanted, batch_size)[place]
        tally.add({}, reference, labels[start : start + batch_size])
    return tally


def batches_of(outputs, batch_size):
    """[[batch of each output]]; the last row fills up the last batch."""
    missing = -len(outputs[0]) % batch_size
    padded = [np.concatenate([each, np.repeat(each[-1:], missing, axis=0)]) for each in outputs]
    return [[each[start : start + batch_size] for each in padded] for start in range(0, len(padded[0]), batch_size)]


@pytest.fixture(scope="module")
def pair():
    generator = np.random.default_rng(0)
    wanted = generator.normal(3.0, size=(11, 4)).astype("float32")
    return wanted + generator.normal(scale=0.1, size=wanted.shape).astype("float32"), wanted


@pytest.mark.parametrize("batch_size", [1, 4, 11, 16])
def test_numbers_against_numpy_whatever_the_batches(pair, batch_size):
    found, wanted = (array.astype(np.float64) for array in pair)
    (numbers,) = tally_of([pair[0]], [pair[1]], batch_size=batch_size).numbers()
    error = np.abs(wanted - found)
    assert numbers.name == "score"
    assert numbers.sqnr == pytest.approx(10 * math.log10((wanted**2).sum() / (error**2).sum()))
    varied = ((wanted - wanted.mean(0)) ** 2).sum()
    assert numbers.variation_sqnr == pytest.approx(10 * math.log10(varied / (error**2).sum()))
    assert numbers.cosine == pytest.approx((wanted * found).sum() / (np.linalg.norm(wanted) * np.linalg.norm(found)))
    assert numbers.max_error == pytest.approx(error.max()) and numbers.mean_error == pytest.approx(error.mean())
    assert numbers.max_error_lsb == pytest.approx(error.max() / SCALE)
    assert numbers.mean_error_lsb == pytest.approx(error.mean() / SCALE)
    assert numbers.most_error_lsb == np.round(2 * error / SCALE).max() / 2, "of 44 values 99.9 % are all"
    assert numbers.agreement == (found.argmax(1) == wanted.argmax(1)).mean()


def test_most_errors_leave_out_one_in_a_thousand():
    found = np.zeros((2000, 4), "float32")
    found[0, 0], found[1] = 100 * SCALE, 1.4 * SCALE
    (numbers,) = tally_of([found], [np.zeros_like(found)], batch_size=500).numbers()
    assert numbers.most_error_lsb == 0 and numbers.max_error_lsb == pytest.approx(100)
    found[:20] = 1.4 * SCALE
    (numbers,) = tally_of([found], [np.zeros_like(found)], batch_size=500).numbers()
    assert numbers.most_error_lsb == 1.5, "1.4 steps, to half a step"


def test_outputs_without_a_scale_and_without_classes():
    found, wanted = np.ones((5, 1)), np.full((5, 1), 2.0)
    (numbers,) = tally_of([found], [wanted], scale=None).numbers()
    assert numbers.max_error == numbers.mean_error == 1 and numbers.agreement is None
    assert numbers.max_error_lsb is None and numbers.mean_error_lsb is None and numbers.most_error_lsb is None
    assert numbers.variation_sqnr is None, "all samples are alike"


def test_equal_outputs_and_a_reference_of_zeros(pair):
    (numbers,) = tally_of([pair[1]], [pair[1]]).numbers()
    assert numbers.sqnr == math.inf and numbers.cosine == pytest.approx(1) and numbers.agreement == 1
    zeros = np.zeros_like(pair[0])
    tally = tally_of([pair[0]], [zeros])
    (numbers,) = tally.numbers()
    assert numbers.sqnr == -math.inf and numbers.cosine == 0
    (reason,) = tally.reasons((numbers,), CheckSettings())
    assert reason == "output 'score' of the reference is zero on all samples, but the output of the file is not"


def test_without_a_reference_there_are_no_numbers(pair):
    assert tally_of([pair[0]], None).numbers() == ()
    assert Tally(FakeFile({"x": (1, 1)}, {"score": (1, 4)}), compared=True).numbers() == (), "nor without samples"


def test_reasons_name_output_number_and_limit(pair):
    tally = tally_of([pair[0]], [pair[1]])
    numbers = tally.numbers()
    assert list(tally.reasons(numbers, CheckSettings(min_sqnr=20))) == []
    (reason,) = tally.reasons(numbers, CheckSettings(min_sqnr=60))
    assert reason == f"output 'score' has an SQNR of {numbers[0].sqnr:.1f} dB; at least 60 dB is required"


def test_an_error_above_the_variation_is_a_reason_whatever_the_constant_part():
    generator = np.random.default_rng(0)
    wanted = 1000 + generator.normal(scale=0.1, size=(30, 2))
    tally = tally_of([wanted + generator.normal(size=wanted.shape)], [wanted])
    (reason,) = tally.reasons(tally.numbers(), CheckSettings())
    assert "the error of output 'score' exceeds the variation of the output: -" in reason


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_reasons_that_say_whose(pair, value):
    bad = pair[0].copy()
    bad[3, 1] = value
    for outputs, who in (((bad, pair[1]), "the file"), ((pair[1], bad), "the reference")):
        tally = tally_of([outputs[0]], [outputs[1]])
        (numbers,) = tally.numbers()
        reasons = list(tally.reasons((numbers,), CheckSettings()))
        assert f"output 'score' of {who} is NaN or infinite on some samples" in reasons
        assert math.isnan(numbers.sqnr) and not math.isfinite(numbers.max_error) and not math.isfinite(numbers.mean_error)


def test_other_outputs_than_the_reference(pair):
    with pytest.raises(tfopt.DataError, match="as many outputs as the file, 1. Received: 2"):
        tally_of([pair[0]], [pair[1], pair[1]])
    with pytest.raises(tfopt.DataError, match=r"Output 0 of the reference must have the shape \(1, 4\). Received: \(1, 3\)"):
        tally_of([pair[0]], [pair[1][:, :3]])


def test_an_output_that_has_no_row_for_each_sample_counts_whole():
    """Its first dimension is not the batch: nothing is cut off when the last batch is filled up."""
    whole, wanted = np.ones((3, 2)), np.zeros((3, 2))
    file = FakeFile({"x": (4, 1)}, {"sum": (3, 2)}, lambda arrays: [whole])
    tally = Tally(file, compared=True)
    tally.add({}, lambda arrays: [wanted], [None, None])
    assert tally.count == 2 and tally.numbers()[0].mean_error == 1


CLASSES = np.array([1, 0, 2, 2, 1])


@pytest.mark.parametrize(
    "labels",
    [CLASSES, CLASSES[:, None], np.eye(3)[CLASSES], CLASSES.astype("float32"), CLASSES.astype("uint8")],
    ids=["ids", "column", "one-hot", "float ids", "uint8 ids"],
)
@pytest.mark.parametrize("batch_size", [1, 2])
def test_labels_of_every_form(labels, batch_size):
    scores = np.eye(3)[[1, 0, 2, 0, 0]]
    tally = tally_of([scores], [np.eye(3)[CLASSES]], labels=list(labels), batch_size=batch_size)
    assert tally.accuracy() == 0.6 and tally.accuracy(of_reference=True) == 1.0
    settings = CheckSettings(min_sqnr=-100, max_accuracy_drop=0.39)
    (reason,) = tally.reasons((), settings)
    assert reason == "the accuracy drops by 40.00 points, from 100.00 % to 60.00 %; no more than 39 is allowed"
    assert list(tally.reasons((), CheckSettings(max_accuracy_drop=0.4))) == []


@pytest.mark.parametrize(
    "labels",
    [np.linspace(0, 1, 5), np.full(5, 3), np.full(5, -1), np.eye(4)[[0, 1, 2, 3, 0]], np.full((5, 3), 0.5), [None, 0, 1, 2, 0]],
    ids=["fractions", "out of range", "negative", "too wide", "no one-hot rows", "one is missing"],
)
def test_labels_that_are_no_classes_give_no_accuracy(labels):
    tally = tally_of([np.eye(3)[CLASSES]], None, labels=list(labels), batch_size=5)
    assert tally.accuracy() is None


@pytest.mark.parametrize(
    ("values", "accuracy"),
    [([0.1, 0.4, 0.6, 0.9], 1.0), ([-2.0, -0.1, 0.1, 3.0], 1.0), ([0.1, 0.6, 0.7, 0.9], 0.75)],
    ids=["probabilities", "logits", "a wrong one"],
)
def test_one_value_decides_at_its_half(values, accuracy):
    """A value that never leaves [0, 1] is a probability, else a logit; the reference decides for the file as well."""
    column = np.array(values)[:, None]
    tally = tally_of([column], None, labels=[0, 0, 1, 1])
    assert tally.accuracy() == accuracy
    in_reference = tally_of([np.clip(column, 0, 1)], [column], labels=[0, 0, 1, 1])
    assert in_reference.accuracy(of_reference=True) == accuracy


@pytest.mark.parametrize(
    ("signal", "noise", "expected"), [(100.0, 1.0, 20.0), (1.0, 0.0, math.inf), (0.0, 1.0, -math.inf), (math.inf, 1.0, math.nan)]
)
def test_decibel(signal, noise, expected):
    assert decibel(signal, noise) == pytest.approx(expected, nan_ok=True)
