"""Samples in every form that tests of the data room open, and what reads or refuses them."""

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


def text_file(path):
    path.write_text("1,2,3\n")
    return path


def require_refused(named, data, *, specs=IMAGE, labels=None):
    """Opens and reads data that must be refused with a message that matches `named` and says what was received."""
    with pytest.raises(tfopt.DataError, match=named) as caught:
        list(open_samples(data, specs, labels=labels, scale="0..1").read())
    assert "Received:" in str(caught.value)
