"""Random weights for files that tests write."""

import numpy as np
import pytest


@pytest.fixture
def random():
    """A function of sizes that returns small random weights, each time others."""
    rng = np.random.default_rng(0)
    return lambda *shape: (0.4 * rng.normal(size=shape)).astype("float32")
