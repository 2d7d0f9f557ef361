"""Representative samples drawn for the tests of `representative` and `conform`."""

import numpy as np

from tfopt.data import representative
from tfopt.data.open_samples import open_samples
from tfopt.data.signature import TensorSpec

ROWS = np.random.default_rng(0).random((6, 4), dtype="float32")


def specs_of(*shapes, dtype="float32"):
    return [TensorSpec(name, (1, *shape), dtype) for name, shape in zip("xyz", shapes, strict=False)]


def draw(data, specs=None, *, count=10, seed=0):
    specs = specs or specs_of((1,))
    return representative.draw(open_samples(data, specs), specs, count, seed)
