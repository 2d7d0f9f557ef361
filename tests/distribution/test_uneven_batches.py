"""A batch that does not divide by the replicas counts as it does on one device."""

import numpy as np
import pytest
import uneven


@pytest.fixture(scope="module")
def alone():
    return uneven.train(lambda build: build())


@pytest.mark.parametrize("name", [pytest.param("multi_worker_long", marks=pytest.mark.slow), "mirrored"])
def test_two_replicas_equal_one(name, alone, run_replicas):
    files = sorted((run_replicas(name).folder / "uneven").iterdir())
    assert len(files) == (2 if name == "multi_worker_long" else 1)
    assert len(alone) == 3 * (2 * 13 + 2)
    for file in files:
        with np.load(file) as found:
            differences = {key: np.abs(found[key] - alone[key]).max() for key in alone}
        assert max(differences.values()) <= 1e-5, differences
