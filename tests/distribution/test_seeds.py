"""Workers that draw the same random numbers."""

import json
import random

import numpy as np
import pytest
import tensorflow as tf

from tfopt.distribution import cluster, collective, seeds


def test_workers_with_different_seeds_agree_on_one(run_replicas):
    folder = run_replicas("multi_worker").folder
    chief, other = (json.loads((folder / f"numbers.{index}.json").read_text()) for index in range(2))
    assert chief == other and len(chief) == 3


@pytest.fixture
def gathered(monkeypatch):
    """Function of what the other worker differs in; what `agree` finds out then. The generators are as before after the test."""
    states = random.getstate(), np.random.get_state()
    workers = cluster.Workers(resolver=None, count=2, index=0, source="the test")

    def agree(*, different):
        def gather(strategy, workers, values):
            return np.array([values, [value + (column in different) for column, value in enumerate(values)]])

        monkeypatch.setattr(collective, "gather", gather)
        return seeds.agree(None, workers)

    yield agree
    random.setstate(states[0])
    np.random.set_state(states[1])
    tf.random.set_seed(0)


def test_what_a_program_has_seeded_alike_stays(gathered):
    tf.random.set_seed(5)
    before = random.getstate(), np.random.get_state()[1].tolist()
    assert gathered(different=()) is None
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    assert tf.compat.v1.get_seed(None)[0] == 5


def test_only_what_differs_is_seeded(gathered):
    tf.random.set_seed(5)
    before = random.getstate()
    seed = gathered(different=(2,))
    assert random.getstate() == before and tf.compat.v1.get_seed(None)[0] == 5
    found = np.random.random()
    np.random.seed(seed)
    assert np.random.random() == found
