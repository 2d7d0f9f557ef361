"""All arrays and the labels must have the same number of samples, at least one."""

import numpy as np
import pytest
from sample_data import IDS, IMAGES, LEFT, RIGHT, TWO, image_folder, npy, npz, require_refused

# {id: (function of a folder -> arguments of `open_samples`, what the message must name)}
REFUSED = {
    "unequal counts": (lambda _: {"data": (LEFT, RIGHT[:5]), "specs": TWO}, "'alpha': 5"),
    "unequal counts in .npz": (lambda folder: {"data": npz(folder, zeta=LEFT, alpha=RIGHT[:5]), "specs": TWO}, "'alpha': 5"),
    "too few labels": (lambda _: {"data": IMAGES, "labels": IDS[:5]}, r"\(5,\)"),
    "too many labels": (lambda _: {"data": IMAGES, "labels": np.arange(7)}, r"\(7,\)"),
    "one number as labels": (lambda _: {"data": IMAGES, "labels": 3}, "labels"),
    "too few labels in .npy": (lambda folder: {"data": IMAGES, "labels": npy(folder, IDS[:5], "labels.npy")}, r"\(5,\)"),
    "too few labels in .npz": (lambda folder: {"data": npz(folder, x=IMAGES, y=IDS[:5])}, r"\(5,\)"),
    "one number as labels in .npz": (lambda folder: {"data": npz(folder, x=IMAGES, y=3)}, "labels"),
    "too few labels for a folder": (lambda folder: {"data": image_folder(folder), "labels": IDS[:5]}, r"\(5,\)"),
    "empty array": (lambda _: {"data": IMAGES[:0]}, "no samples in"),
    "empty list": (lambda _: {"data": []}, "no samples in"),
    "empty tuple of arrays": (lambda _: {"data": (LEFT[:0], RIGHT[:0]), "specs": TWO}, "no samples in"),
    "empty dict of arrays": (lambda _: {"data": {"image": IMAGES[:0]}}, "no samples in"),
    "empty .npy": (lambda folder: {"data": npy(folder, IMAGES[:0])}, "no samples in .*data.npy"),
    "empty .npz": (lambda folder: {"data": npz(folder, x=IMAGES[:0])}, "no samples in .*data.npz"),
    "number in .npy": (lambda folder: {"data": npy(folder, np.array(3.0))}, "single number"),
}


@pytest.mark.parametrize(("make", "named"), REFUSED.values(), ids=REFUSED)
def test_unequal_or_empty_arrays_are_refused(make, named, tmp_path):
    require_refused(named, **make(tmp_path))
