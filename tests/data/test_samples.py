"""Data of every kind give the same samples and labels; what cannot be used is refused with a clear `DataError`."""

import itertools
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfopt
from tfopt.data.open_samples import open_samples
from tfopt.data.signature import TensorSpec

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 2, 3, 1), dtype=np.uint8)
IMAGES = PIXELS.astype("float32") / np.float32(255)
IDS = np.array([0, 0, 1, 1, 2, 2])
IMAGE = [TensorSpec("image", (None, 2, 3, 1), "float32")]

LEFT = np.random.default_rng(1).random((6, 4), dtype="float32")
RIGHT = np.arange(12, dtype="int32").reshape(6, 2)
# Not in alphabetical order: the model's own order counts.
TWO = [TensorSpec("zeta", (None, 4), "float32"), TensorSpec("alpha", (None, 2), "int32")]


def dataset(*arrays):
    """A `tf.data.Dataset` of single samples; of tuples where there are several arrays."""
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0])


def npy(folder, array, name="data.npy"):
    np.save(folder / name, array)
    return folder / name


def npz(folder, **arrays):
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def image_folder(folder, class_folders=("", "", "", "", "", "")):
    for index, (pixels, name) in enumerate(zip(PIXELS, class_folders, strict=True)):
        (folder / "images" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(folder / "images" / name / f"{index}.png")
    return folder / "images"


class Batches(keras.utils.PyDataset):
    def __init__(self, *batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def read(samples, indices=None):
    """({input name: all its samples as one array}, list of labels)."""
    pairs = list(samples.read(indices))
    return {name: np.stack([inputs[name] for inputs, _ in pairs]) for name in pairs[0][0]}, [label for _, label in pairs]


UNLABELLED = {
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


@pytest.mark.parametrize("make", UNLABELLED.values(), ids=UNLABELLED)
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
LABELLED = {
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


@pytest.mark.parametrize("make", LABELLED.values(), ids=LABELLED)
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


# {id: (function of a folder -> data, whether they are labelled)}
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


@pytest.mark.parametrize(("make", "labelled"), PAIRS.values(), ids=PAIRS)
def test_models_with_two_inputs(make, labelled, tmp_path):
    samples = open_samples(make(tmp_path), TWO)
    inputs, labels = read(samples)
    assert list(inputs) == ["zeta", "alpha"]
    np.testing.assert_array_equal(inputs["zeta"], LEFT)
    np.testing.assert_array_equal(inputs["alpha"], RIGHT)
    assert samples.labeled == labelled
    assert labels == (IDS.tolist() if labelled else [None] * 6)


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


# {id: (function of a folder -> arguments, what the message must name)}
REFUSED = {
    # neither data nor a way to them
    "generator, not its function": (lambda _: {"data": (image for image in IMAGES)}, "generator"),
    "iterator of a list": (lambda _: {"data": iter(IMAGES)}, "iterator"),
    "iterator of tf.data": (lambda _: {"data": iter(dataset(IMAGES))}, "Iterator"),
    "NumPy iterator of tf.data": (lambda _: {"data": dataset(IMAGES).as_numpy_iterator()}, "Iterator"),
    "function that returns nothing": (lambda _: {"data": lambda: None}, "generator function"),
    "function that needs arguments": (lambda _: {"data": needs_an_argument}, "generator function"),
    "None": (lambda _: {"data": None}, "image"),
    "number": (lambda _: {"data": 3.0}, "image"),
    # names and counts of inputs
    "dict of other names": (lambda _: {"data": {"picture": IMAGES}}, "picture"),
    "dict that lacks an input": (lambda _: {"data": {"zeta": LEFT}, "specs": TWO}, r"without \['alpha'\]"),
    "dict with one input too many": (lambda _: {"data": {"image": IMAGES, "mask": IMAGES}}, "mask"),
    ".npz of other names": (lambda folder: {"data": npz(folder, picture=IMAGES)}, "picture"),
    ".npz without arrays": (lambda folder: {"data": npz(folder)}, "image"),
    "tf.data of other names": (lambda _: {"data": dataset({"picture": IMAGES})}, "picture"),
    "one array for two inputs": (lambda _: {"data": LEFT, "specs": TWO}, "zeta"),
    "three arrays for two inputs": (lambda _: {"data": (LEFT, RIGHT, RIGHT), "specs": TWO}, "3 arrays"),
    "two arrays for one input": (lambda _: {"data": (IMAGES, IMAGES)}, "2 arrays"),
    "list of two arrays for one input": (lambda _: {"data": [IMAGES, IMAGES[..., 0]]}, "image"),
    ".npy for two inputs": (lambda folder: {"data": npy(folder, LEFT), "specs": TWO}, "zeta"),
    "images for two inputs": (lambda folder: {"data": image_folder(folder), "specs": TWO}, "zeta"),
    "tf.data of one array for two inputs": (lambda _: {"data": dataset(LEFT), "specs": TWO}, "zeta"),
    "tf.data of four arrays": (lambda _: {"data": dataset(*[IMAGES] * 4)}, "tuple of 4"),
    # counts of samples
    "unequal counts": (lambda _: {"data": (LEFT, RIGHT[:5]), "specs": TWO}, "'alpha': 5"),
    "unequal counts in .npz": (lambda folder: {"data": npz(folder, zeta=LEFT, alpha=RIGHT[:5]), "specs": TWO}, "'alpha': 5"),
    "first input shorter in a batch": (lambda _: {"data": Batches((LEFT[:5], RIGHT)), "specs": TWO}, "alpha"),
    "second input shorter in a batch": (lambda _: {"data": Batches((LEFT, RIGHT[:5])), "specs": TWO}, "alpha"),
    # ranks
    "samples of the wrong rank": (lambda _: {"data": dataset(IMAGES[..., 0])}, "rank 2 for 'image'"),
    "batches of the wrong rank": (lambda _: {"data": dataset(IMAGES[None]).batch(1)}, "rank 5 for 'image'"),
    "one input in batches, one not": (
        lambda _: {"data": lambda: iter([(LEFT, RIGHT[0])]), "specs": TWO},
        "rank 2 for 'zeta', 1 for 'alpha'",
    ),
    # labels
    "too few labels": (lambda _: {"data": IMAGES, "labels": IDS[:5]}, r"\(5,\)"),
    "too many labels": (lambda _: {"data": IMAGES, "labels": np.arange(7)}, r"\(7,\)"),
    "one number as labels": (lambda _: {"data": IMAGES, "labels": 3}, "labels"),
    "too few labels in .npy": (lambda folder: {"data": IMAGES, "labels": npy(folder, IDS[:5], "labels.npy")}, r"\(5,\)"),
    "too few labels in .npz": (lambda folder: {"data": npz(folder, x=IMAGES, y=IDS[:5])}, r"\(5,\)"),
    "one number as labels in .npz": (lambda folder: {"data": npz(folder, x=IMAGES, y=3)}, "labels"),
    "too few labels for a folder": (lambda folder: {"data": image_folder(folder), "labels": IDS[:5]}, r"\(5,\)"),
    "too few labels for tf.data": (lambda _: {"data": dataset(IMAGES), "labels": IDS[:5]}, "5 labels"),
    "too many labels for tf.data": (lambda _: {"data": dataset(IMAGES), "labels": np.arange(7)}, "7 labels"),
    "one number as labels for tf.data": (lambda _: {"data": dataset(IMAGES), "labels": 3}, "labels"),
    "too many labels for a function": (lambda _: {"data": lambda: iter(IMAGES), "labels": np.arange(7)}, "7 labels"),
    "labels for an endless function": (lambda _: {"data": never_ending, "labels": IDS}, "labels"),
    "too few labels in a batch": (lambda _: {"data": Batches((IMAGES, IDS[:5]))}, "labels"),
    "too many labels in a batch": (lambda _: {"data": Batches((IMAGES, np.arange(7)))}, "labels"),
    "labels twice, tf.data": (lambda _: {"data": dataset(IMAGES, IDS), "labels": IDS}, "`labels`, and the dataset"),
    "labels twice, .npz": (lambda folder: {"data": npz(folder, x=IMAGES, y=IDS), "labels": IDS}, "`labels`, and .*data.npz"),
    "labels missing": (lambda folder: {"data": IMAGES, "labels": folder / "none.npy"}, "none.npy"),
    "labels as text": (lambda folder: {"data": IMAGES, "labels": text_file(folder / "labels.npy")}, "labels.npy"),
    "labels as .npz": (lambda folder: {"data": IMAGES, "labels": npz(folder, y=IDS)}, "labels|data.npz"),
    # nothing to read
    "empty array": (lambda _: {"data": IMAGES[:0]}, "no samples in"),
    "empty list": (lambda _: {"data": []}, "no samples in"),
    "empty tuple of arrays": (lambda _: {"data": (LEFT[:0], RIGHT[:0]), "specs": TWO}, "no samples in"),
    "empty dict of arrays": (lambda _: {"data": {"image": IMAGES[:0]}}, "no samples in"),
    "empty tf.data": (lambda _: {"data": dataset(IMAGES).take(0)}, "no samples from the dataset"),
    "empty function": (lambda _: {"data": lambda: iter(())}, "no samples from the generator function"),
    "function of empty batches": (lambda _: {"data": lambda: iter([IMAGES[:0]])}, "generator function"),
    "empty PyDataset": (lambda _: {"data": Batches()}, "no samples from the PyDataset"),
    "empty .npy": (lambda folder: {"data": npy(folder, IMAGES[:0])}, "no samples in .*data.npy"),
    "empty .npz": (lambda folder: {"data": npz(folder, x=IMAGES[:0])}, "no samples in .*data.npz"),
    "folder without images": (lambda folder: {"data": text_file(folder / "notes.txt").parent}, "no images in"),
    # paths
    "missing file": (lambda folder: {"data": folder / "none.npy"}, "none.npy"),
    "missing folder": (lambda folder: {"data": str(folder / "none")}, "none"),
    "another kind of file": (lambda folder: {"data": text_file(folder / "data.csv")}, "data.csv"),
    "number in .npy": (lambda folder: {"data": npy(folder, np.array(3.0))}, "single number"),
}


def text_file(path):
    path.write_text("1,2,3\n")
    return path


@pytest.mark.parametrize(("make", "named"), REFUSED.values(), ids=REFUSED)
def test_unusable_data_are_refused(make, named, tmp_path):
    arguments = {"specs": IMAGE, "labels": None, "scale": "0..1", **make(tmp_path)}
    with pytest.raises(tfopt.DataError, match=named) as caught:
        list(open_samples(**arguments).read())
    assert "Received:" in str(caught.value)


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


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5], ids=["empty", "only a header", "half"])
def test_corrupt_images_are_named(suffix, kept, tmp_path):
    folder = image_folder(tmp_path)
    path = folder / f"7{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    stream = open_samples(folder, IMAGE, scale="0..1").read()
    assert len(list(itertools.islice(stream, 6))) == 6
    with pytest.raises(tfopt.DataError, match=f"Received: .*7{suffix}"):
        next(stream)


def test_text_named_as_an_image_is_refused(tmp_path):
    text_file(tmp_path / "notes.png")
    with pytest.raises(tfopt.DataError, match=r"Received: .*notes\.png"):
        list(open_samples(tmp_path, IMAGE, scale="0..1").read())
