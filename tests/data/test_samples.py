"""Arrays are assigned to the inputs of a model by name or in its order."""

import pytest
from sample_data import IMAGES, LEFT, RIGHT, TWO, dataset, npy, npz, require_refused

# {id: (function of a folder -> arguments of `open_samples`, what the message must name)}
REFUSED = {
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
    "tf.data of one array for two inputs": (lambda _: {"data": dataset(LEFT), "specs": TWO}, "zeta"),
}


@pytest.mark.parametrize(("make", "named"), REFUSED.values(), ids=REFUSED)
def test_arrays_that_are_not_the_inputs_are_refused(make, named, tmp_path):
    require_refused(named, **make(tmp_path))
