"""Optimizers that accumulate, clip, and average gradients do under replicas what they do on one device."""

import keras
import numpy as np
import optimizers
import pytest

from tfopt.distribution import optimizer_steps


def require_equal(folder, workers, chosen):
    alone = optimizers.train(lambda build: build(), chosen)
    files = sorted(folder.iterdir())
    assert len(files) == workers
    for file in files:
        with np.load(file) as found:
            differences = {key: np.abs(found[key] - alone[key]).max() for key in alone}
        assert max(differences.values()) <= 1e-5, differences


def test_two_replicas_equal_one(run_replicas):
    require_equal(run_replicas("mirrored").folder / "optimizers_few", 1, optimizers.FEW)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "workers"), [("mirrored_long", 1), ("multi_worker_long", 2)])
def test_two_replicas_equal_one_with_every_optimizer(name, workers, run_replicas):
    require_equal(run_replicas(name).folder / "optimizers", workers, optimizers.ALL)


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
