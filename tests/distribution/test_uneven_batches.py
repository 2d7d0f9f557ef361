"""A batch that does not divide by the replicas counts as it does on one device."""

import numpy as np
import pytest
import uneven
import uneven_few


def require_equal(folder, workers, reductions):
    alone = uneven.train(lambda build: build(), reductions)
    files = sorted(folder.iterdir())
    assert len(files) == workers
    assert len(alone) == 3 * sum(len(sizes) * (1 if reduction == "sum" else 2) for reduction, sizes in reductions.items())
    for file in files:
        with np.load(file) as found:
            differences = {key: np.abs(found[key] - alone[key]).max() for key in alone}
        assert max(differences.values()) <= 1e-5, differences


def test_two_replicas_equal_one(run_replicas):
    require_equal(run_replicas("mirrored").folder / "uneven_few", 1, uneven_few.REDUCTIONS)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "workers"), [("mirrored_long", 1), ("multi_worker_long", 2)])
def test_two_replicas_equal_one_for_every_size(name, workers, run_replicas):
    require_equal(run_replicas(name).folder / "uneven", workers, uneven.REDUCTIONS)
