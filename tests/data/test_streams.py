"""Datasets, generators and PyDatasets are read as often as asked, single samples or batches, with or without labels."""

import itertools

import numpy as np
import pytest
from sample_data import IDS, IMAGE, IMAGES, LEFT, RIGHT, TWO, Batches, dataset, read, require_refused

from tfopt.data.open_samples import open_samples


def test_labels_may_be_rows():
    rows = np.eye(3)[IDS]
    for data, labels in ((IMAGES, rows), (dataset(IMAGES, rows), None), (dataset(IMAGES, rows).batch(4), None)):
        _, found = read(open_samples(data, IMAGE, labels=labels))
        np.testing.assert_array_equal(found, rows)


@pytest.mark.parametrize(
    ("data", "endless"),
    [
        (IMAGES, False),
        (dataset(IMAGES).batch(4), False),
        (dataset(IMAGES).repeat(2), False),
        (dataset(IMAGES).repeat(), True),
        (dataset(IMAGES).filter(lambda _: True), True),
        (lambda: iter(IMAGES), True),
        (Batches(IMAGES), False),
    ],
    ids=["array", "tf.data", "tf.data twice", "repeated tf.data", "tf.data of unknown length", "function", "PyDataset"],
)
def test_data_that_may_never_end_are_marked(data, endless):
    assert open_samples(data, IMAGE).may_be_endless == endless


def needs_an_argument(size):
    return iter(IMAGES[:size])


def never_ending(limit=10_000):
    """Stands for an endless generator; who reads on where no answer can come ends at `limit`, so that the test does end."""
    yield from itertools.islice(itertools.cycle(IMAGES), limit)
    raise RuntimeError("read on for ever")


# {id: (function of a folder -> arguments of `open_samples`, what the message must name)}
REFUSED = {
    "function that returns nothing": (lambda _: {"data": lambda: None}, "generator function"),
    "function that needs arguments": (lambda _: {"data": needs_an_argument}, "generator function"),
    "tf.data of four arrays": (lambda _: {"data": dataset(*[IMAGES] * 4)}, "tuple of 4"),
    "first input shorter in a batch": (lambda _: {"data": Batches((LEFT[:5], RIGHT)), "specs": TWO}, "alpha"),
    "second input shorter in a batch": (lambda _: {"data": Batches((LEFT, RIGHT[:5])), "specs": TWO}, "alpha"),
    "samples of the wrong rank": (lambda _: {"data": dataset(IMAGES[..., 0])}, "rank 2 for 'image'"),
    "batches of the wrong rank": (lambda _: {"data": dataset(IMAGES[None]).batch(1)}, "rank 5 for 'image'"),
    "one input in batches, one not": (
        lambda _: {"data": lambda: iter([(LEFT, RIGHT[0])]), "specs": TWO},
        "rank 2 for 'zeta', 1 for 'alpha'",
    ),
    "too few labels for tf.data": (lambda _: {"data": dataset(IMAGES), "labels": IDS[:5]}, "5 labels"),
    "too many labels for tf.data": (lambda _: {"data": dataset(IMAGES), "labels": np.arange(7)}, "7 labels"),
    "one number as labels for tf.data": (lambda _: {"data": dataset(IMAGES), "labels": 3}, "labels"),
    "too many labels for a function": (lambda _: {"data": lambda: iter(IMAGES), "labels": np.arange(7)}, "7 labels"),
    "labels for an endless function": (lambda _: {"data": never_ending, "labels": IDS}, "labels"),
    "too few labels in a batch": (lambda _: {"data": Batches((IMAGES, IDS[:5]))}, "labels"),
    "too many labels in a batch": (lambda _: {"data": Batches((IMAGES, np.arange(7)))}, "labels"),
    "labels twice, tf.data": (lambda _: {"data": dataset(IMAGES, IDS), "labels": IDS}, "`labels`, and the dataset"),
    "empty tf.data": (lambda _: {"data": dataset(IMAGES).take(0)}, "no samples from the dataset"),
    "empty function": (lambda _: {"data": lambda: iter(())}, "no samples from the generator function"),
    "function of empty batches": (lambda _: {"data": lambda: iter([IMAGES[:0]])}, "generator function"),
    "empty PyDataset": (lambda _: {"data": Batches()}, "no samples from the PyDataset"),
}


@pytest.mark.parametrize(("make", "named"), REFUSED.values(), ids=REFUSED)
def test_unusable_streams_are_refused(make, named, tmp_path):
    require_refused(named, **make(tmp_path))
