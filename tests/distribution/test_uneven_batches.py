"""A batch that does not divide by the replicas counts as it does on one device."""

import pytest
import uneven
import uneven_few
from in_scope import require_equal


def alone(reductions):
    found = uneven.train(lambda build: build(), reductions)
    assert len(found) == 3 * sum(len(sizes) * (1 if reduction == "sum" else 2) for reduction, sizes in reductions.items())
    return found


def test_two_replicas_equal_one(run_replicas):
    require_equal(run_replicas("mirrored").folder / "uneven_few", 1, alone(uneven_few.REDUCTIONS))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "workers"), [("mirrored_long", 1), ("multi_worker_long", 2)])
def test_two_replicas_equal_one_for_every_size(name, workers, run_replicas):
    require_equal(run_replicas(name).folder / "uneven", workers, alone(uneven.REDUCTIONS))
