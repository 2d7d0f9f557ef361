"""Learning rates for larger batches."""

import keras
import numpy as np
import pytest

import tfopt


def test_scaled_rates():
    assert tfopt.scale_learning_rate(0.1, 1024, 256) == pytest.approx(0.4)
    assert tfopt.scale_learning_rate(0.1, 1024, 256, rule="sqrt") == pytest.approx(0.2)
    assert tfopt.scale_learning_rate(0.1, 64, 256) == pytest.approx(0.025)


@pytest.mark.parametrize(
    "wrong", [{"rate": 0.0}, {"rate": "0.1"}, {"global_batch": 0}, {"base_batch": 2.5}, {"rule": "cubic"}], ids=str
)
def test_what_cannot_be_scaled(wrong):
    with pytest.raises(tfopt.ArgumentError, match="Received: " + next(iter(wrong))):
        tfopt.scale_learning_rate(**{"rate": 0.1, "global_batch": 64, "base_batch": 32, **wrong})


def test_warm_up_rises_in_a_line_and_hands_over():
    rates = [float(tfopt.WarmUp(0.5, steps=4, start=0.1)(step)) for step in range(6)]
    np.testing.assert_allclose(rates, [0.1, 0.2, 0.3, 0.4, 0.5, 0.5], rtol=1e-6)
    decay = keras.optimizers.schedules.PiecewiseConstantDecay([1, 2], [1.0, 0.1, 0.01])
    rates = [float(tfopt.WarmUp(decay, steps=2)(step)) for step in range(6)]
    np.testing.assert_allclose(rates, [0.0, 0.5, 1.0, 1.0, 0.1, 0.01], rtol=1e-6)
    assert float(tfopt.WarmUp(0.5, steps=0)(0)) == 0.5


@pytest.mark.parametrize("wrong", [{"after": -1.0}, {"after": None}, {"steps": 1.5}, {"start": -0.1}], ids=str)
def test_what_is_no_warm_up(wrong):
    with pytest.raises(tfopt.ArgumentError, match="Received: " + next(iter(wrong))):
        tfopt.WarmUp(**{"after": 0.1, "steps": 5, **wrong})


def test_warm_up_trains_and_is_saved_with_the_model(tmp_path):
    decay = keras.optimizers.schedules.ExponentialDecay(0.2, 10, 0.5)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="ones", use_bias=False)])
    model.compile(keras.optimizers.SGD(tfopt.WarmUp(decay, steps=4, start=0.0)), "mse")
    x = np.ones((8, 3), "float32")
    model.fit(x, np.zeros((8, 1)), batch_size=8, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], 1.0)  # the first step has a rate of zero
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    schedule = loaded.optimizer._learning_rate
    assert isinstance(schedule, tfopt.WarmUp) and schedule.after.get_config() == decay.get_config()
    for each in (model, loaded):
        each.fit(x, np.zeros((8, 1)), batch_size=4, verbose=0, shuffle=False)
    np.testing.assert_array_equal(model.get_weights()[0], loaded.get_weights()[0])
    assert not np.array_equal(loaded.get_weights()[0], np.ones((3, 1)))
