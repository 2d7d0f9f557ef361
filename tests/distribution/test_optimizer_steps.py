"""Optimizers that accumulate, clip, and average gradients do under replicas what they do on one device."""

import keras
import numpy as np
import optimizers
import pytest
from in_scope import require_equal

from tfopt.distribution import optimizer_steps


def alone(chosen):
    return optimizers.train(lambda build: build(), chosen)


def test_two_replicas_equal_one(run_replicas):
    require_equal(run_replicas("mirrored").folder / "optimizers_few", 1, alone(optimizers.FEW))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "workers"), [("mirrored_long", 1), ("multi_worker_long", 2)])
def test_two_replicas_equal_one_with_every_optimizer(name, workers, run_replicas):
    require_equal(run_replicas(name).folder / "optimizers", workers, alone(optimizers.ALL))


def test_an_optimizer_is_attached_once_and_works_without_replicas():
    variable = keras.Variable([1.0, 2.0])
    optimizer = keras.optimizers.SGD(0.5, gradient_accumulation_steps=2)
    optimizer_steps.attach(optimizer)
    apply = optimizer.apply
    optimizer_steps.attach(optimizer)
    assert optimizer.apply is apply
    for expected in ([1.0, 2.0], [0.0, 1.0]):
        optimizer.apply([keras.ops.convert_to_tensor([2.0, 2.0])], [variable])
        np.testing.assert_allclose(variable.numpy(), expected)
