"""A schedule as a table of optimizer steps, and in a saved configuration."""

import pytest
from keras2_models import layers, small

import tfopt
from tfopt.keras2.prune import prune
from tfopt.keras2.pruning_schedule import place

LINEAR = tfopt.PolynomialDecay(0.5, begin=2, end=12, power=1)


@pytest.mark.parametrize(
    "now, lowest, steps, shares",
    [
        (0, 0.0, (2, 7, 12), (0.0, 0.25, 0.5)),
        (0, 0.3, (0, 2, 7, 12), (0.3, 0.3, 0.3, 0.5)),  # zeros stay before the schedule begins too
        (8, 0.0, (8, 12), (0.25, 0.5)),  # of the updates before, the last one is due at once
        (20, 0.0, (20,), (0.5,)),
        (2, 0.7, (2, 7, 12), (0.7, 0.7, 0.7)),
    ],
    ids=["new", "has zeros", "resumed", "after the end", "more than due"],
)
def test_the_table_of_a_run(now, lowest, steps, shares):
    run = place(LINEAR, 5, 0, 100, now, lowest)
    assert run.steps == steps and run.sparsities == pytest.approx(shares) and run.schedule == LINEAR


def test_the_schedule_survives_a_configuration():
    pruned = prune(small(layers.Dense(8, name="a")), tfopt.PolynomialDecay(0.5, end=0.9), frequency=7)
    wrapper = pruned.layers[0]
    again = type(wrapper).from_config(wrapper.get_config()).pruning_schedule
    assert again.schedule == tfopt.PolynomialDecay(0.5, end=0.9)
    assert again.frequency == 7
