"""Data of every kind give the same samples and labels; anything else is refused with a clear `DataError`."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf
from sample_data import (
    IDS,
    IMAGE,
    IMAGES,
    LEFT,
    RIGHT,
    TWO,
    Batches,
    dataset,
    image_folder,
    npy,
    npz,
    read,
    require_refused,
    text_file,
)

import tfopt
from tfopt.data.open_samples import open_samples
from tfopt.data.signature import TensorSpec

UNLABELED = {
    "array": lambda _: IMAGES,
    "nested lists": lambda _: IMAGES.tolist(),
    "tensor": lambda _: tf.constant(IMAGES),
    "tuple of one array": lambda _: (IMAGES,),
    "list of one array": lambda _: [IMAGES],
    "dict by name": lambda _: {"image": IMAGES},
    "dict with x": lambda _: {"x": IMAGES},
    "tf.data": lambda _: dataset(IMAGES),
    "tf.data in batches": lambda _: dataset(IMAGES).batch(4),
    "tf.data of dicts": lambda _: dataset({"image": IMAGES}).batch(4),
    "tf.data of tuples of one": lambda _: dataset((IMAGES,)),
    "tf.data of unknown length": lambda _: dataset(IMAGES).filter(lambda _: True),
    "function of samples": lambda _: lambda: iter(IMAGES),
    "function of batches": lambda _: lambda: iter([IMAGES[:4], IMAGES[4:]]),
    "function of dicts": lambda _: lambda: ({"image": image} for image in IMAGES),
    "PyDataset": lambda _: Batches(IMAGES[:4], IMAGES[4:]),
    ".npy": lambda folder: npy(folder, IMAGES),
    ".npy as str": lambda folder: str(npy(folder, IMAGES)),
    ".npz by name": lambda folder: npz(folder, image=IMAGES),
    ".npz with x": lambda folder: npz(folder, x=IMAGES),
    "folder of images": image_folder,
}


@pytest.mark.parametrize("make", UNLABELED.values(), ids=UNLABELED)
def test_every_kind_gives_the_same_samples(make, tmp_path):
    samples = open_samples(make(tmp_path), IMAGE, scale="0..1")
    assert samples.count in (6, None) and not samples.labeled
    for _ in range(2):  # all data can be read again
        inputs, labels = read(samples)
        np.testing.assert_allclose(inputs["image"], IMAGES, atol=1e-6)
        assert labels == [None] * 6
    some, _ = read(samples, [1, 4])
    np.testing.assert_allclose(some["image"], IMAGES[[1, 4]], atol=1e-6)


# {id: function of a folder -> (data, labels or None)}
LABELED = {
    "array and array": lambda _: (IMAGES, IDS),
    "array and list": lambda _: (IMAGES, IDS.tolist()),
    "array and .npy": lambda folder: (IMAGES, npy(folder, IDS, "labels.npy")),
    "array and .npy as str": lambda folder: (IMAGES, str(npy(folder, IDS, "labels.npy"))),
    ".npy and .npy": lambda folder: (npy(folder, IMAGES), npy(folder, IDS, "labels.npy")),
    "tf.data and array": lambda _: (dataset(IMAGES), IDS),
    "tf.data in batches and .npy": lambda folder: (dataset(IMAGES).batch(4), npy(folder, IDS, "labels.npy")),
    "function and array": lambda _: (lambda: iter(IMAGES), IDS),
    "PyDataset and array": lambda _: (Batches(IMAGES[:4], IMAGES[4:]), IDS),
    "folder of images and array": lambda folder: (image_folder(folder), IDS),
    "tf.data with labels": lambda _: (dataset(IMAGES, IDS), None),
    "tf.data in batches with labels": lambda _: (dataset(IMAGES, IDS).batch(4), None),
    "tf.data with labels and weights": lambda _: (dataset(IMAGES, IDS, np.ones(6)).batch(4), None),
    "function of samples with labels": lambda _: (lambda: zip(IMAGES, IDS, strict=True), None),
    "function of batches with labels": lambda _: (lambda: iter([(IMAGES[:4], IDS[:4]), (IMAGES[4:], IDS[4:])]), None),
    "PyDataset with labels": lambda _: (Batches((IMAGES[:4], IDS[:4]), (IMAGES[4:], IDS[4:])), None),
    "PyDataset with labels and weights": lambda _: (Batches((IMAGES, IDS, np.ones(6))), None),
    ".npz with x and y": lambda folder: (npz(folder, x=IMAGES, y=IDS), None),
    ".npz with name and y": lambda folder: (npz(folder, image=IMAGES, y=IDS), None),
    "folders of images": lambda folder: (image_folder(folder, ("ant", "ant", "bee", "bee", "cat", "cat")), None),
}


@pytest.mark.parametrize("make", LABELED.values(), ids=LABELED)
def test_every_kind_gives_the_same_labels(make, tmp_path):
    data, labels = make(tmp_path)
    samples = open_samples(data, IMAGE, labels=labels, scale="0..1")
    assert samples.labeled
    inputs, found = read(samples)
    np.testing.assert_allclose(inputs["image"], IMAGES, atol=1e-6)
    np.testing.assert_array_equal(found, IDS)
    some, found = read(samples, [1, 4])
    np.testing.assert_allclose(some["image"], IMAGES[[1, 4]], atol=1e-6)
    np.testing.assert_array_equal(found, IDS[[1, 4]])


# {id: (function of a folder -> data, whether they are labeled)}
PAIRS = {
    "tuple": (lambda _: (LEFT, RIGHT), False),
    "list": (lambda _: [LEFT, RIGHT], False),
    "dict by name": (lambda _: {"alpha": RIGHT, "zeta": LEFT}, False),
    ".npz by name": (lambda folder: npz(folder, alpha=RIGHT, zeta=LEFT), False),
    ".npz by name with y": (lambda folder: npz(folder, alpha=RIGHT, zeta=LEFT, y=IDS), True),
    "tf.data of tuples": (lambda _: dataset(LEFT, RIGHT), False),
    "tf.data of dicts": (lambda _: dataset({"alpha": RIGHT, "zeta": LEFT}).batch(4), False),
    "tf.data of tuples with labels": (lambda _: dataset((LEFT, RIGHT), IDS).batch(4), True),
    "tf.data of dicts with labels": (lambda _: dataset({"alpha": RIGHT, "zeta": LEFT}, IDS), True),
    "tf.data of tuples with labels and weights": (lambda _: dataset((LEFT, RIGHT), IDS, np.ones(6)).batch(4), True),
    "function of tuples": (lambda _: lambda: zip(LEFT, RIGHT, strict=True), False),
    "function of tuples with labels": (lambda _: lambda: zip(zip(LEFT, RIGHT, strict=True), IDS, strict=True), True),
    "PyDataset with labels": (lambda _: Batches(((LEFT, RIGHT), IDS)), True),
}


@pytest.mark.parametrize(("make", "labeled"), PAIRS.values(), ids=PAIRS)
def test_models_with_two_inputs(make, labeled, tmp_path):
    samples = open_samples(make(tmp_path), TWO)
    inputs, labels = read(samples)
    assert list(inputs) == ["zeta", "alpha"]
    np.testing.assert_array_equal(inputs["zeta"], LEFT)
    np.testing.assert_array_equal(inputs["alpha"], RIGHT)
    assert samples.labeled == labeled
    assert labels == (IDS.tolist() if labeled else [None] * 6)


# {id: (function of a folder -> arguments of `open_samples`, what the message must name)}
REFUSED = {
    "generator, not its function": (lambda _: {"data": (image for image in IMAGES)}, "generator"),
    "iterator of a list": (lambda _: {"data": iter(IMAGES)}, "iterator"),
    "iterator of tf.data": (lambda _: {"data": iter(dataset(IMAGES))}, "Iterator"),
    "NumPy iterator of tf.data": (lambda _: {"data": dataset(IMAGES).as_numpy_iterator()}, "Iterator"),
    "None": (lambda _: {"data": None}, "image"),
    "number": (lambda _: {"data": 3.0}, "image"),
    "images for two inputs": (lambda folder: {"data": image_folder(folder), "specs": TWO}, "zeta"),
    "labels twice, .npz": (lambda folder: {"data": npz(folder, x=IMAGES, y=IDS), "labels": IDS}, "`labels`, and .*data.npz"),
    "labels missing": (lambda folder: {"data": IMAGES, "labels": folder / "none.npy"}, "none.npy"),
    "labels as text": (lambda folder: {"data": IMAGES, "labels": text_file(folder / "labels.npy")}, "labels.npy"),
    "labels as .npz": (lambda folder: {"data": IMAGES, "labels": npz(folder, y=IDS)}, "labels|data.npz"),
    "missing file": (lambda folder: {"data": folder / "none.npy"}, "none.npy"),
    "missing folder": (lambda folder: {"data": str(folder / "none")}, "none"),
    "another kind of file": (lambda folder: {"data": text_file(folder / "data.csv")}, "data.csv"),
}


@pytest.mark.parametrize(("make", "named"), REFUSED.values(), ids=REFUSED)
def test_unusable_data_are_refused(make, named, tmp_path):
    require_refused(named, **make(tmp_path))


DAMAGE = {
    "text": lambda _: b"not an array",
    "empty": lambda _: b"",
    "cut in the header": lambda content: content[:20],
    "cut in the data": lambda content: content[:-30],
}


@pytest.mark.parametrize("make", [lambda folder: npy(folder, IMAGES), lambda folder: npz(folder, x=IMAGES)], ids=[".npy", ".npz"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_files_are_refused(make, damage, tmp_path):
    path = make(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(tfopt.DataError, match=f"Received: .*{path.name}"):
        list(open_samples(path, IMAGE).read())


@pytest.mark.parametrize(("name", "other"), [("data.npz", "other.npy"), ("data.npy", "other.npz")])
def test_files_of_the_other_format_are_refused(name, other, tmp_path):
    path = npy(tmp_path, IMAGES) if name == "data.npy" else npz(tmp_path, x=IMAGES)
    path.rename(tmp_path / other)
    with pytest.raises(tfopt.DataError, match=f"Received: .*{other}"):
        list(open_samples(tmp_path / other, IMAGE).read())


class Hostile:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


HOSTILE = {
    "data in .npy": lambda folder, objects: (npy(folder, objects), None),
    "data in .npz": lambda folder, objects: (npz(folder, x=objects), None),
    "labels in .npy": lambda folder, objects: (IMAGES, npy(folder, objects, "labels.npy")),
    "labels in .npz": lambda folder, objects: (npz(folder, x=IMAGES, y=objects), None),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_pickled_objects_are_refused_and_not_unpickled(make, tmp_path):
    objects = np.empty(6, object)
    objects[:] = [Hostile(tmp_path / "unpickled") for _ in objects]
    data, labels = make(tmp_path, objects)
    with pytest.raises(tfopt.DataError, match="Received:"):
        list(open_samples(data, IMAGE, labels=labels).read())
    assert not (tmp_path / "unpickled").exists()


def test_labels_beside_the_inputs_are_named_as_such():
    with pytest.raises(tfopt.DataError, match="If the second one holds labels, leave them out and give the inputs alone, such as x_train"):
        open_samples((np.zeros((3, 4)), np.zeros(3)), [TensorSpec("x", (None, 4), "float32")])
