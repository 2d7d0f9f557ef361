"""Masks are constraints while `fit` runs: they hold, they are composed with the caller's own, and they go."""

import keras
import numpy as np
import pytest
from small_net import OwnStep, Zeros, build, compiled, constraints, fit, reached, with_class

import tfopt
from tfopt.pruning.masking import MaskConstraint, MaskingCallback


def mask(*values):
    return keras.Variable(np.array(values), dtype="bool", trainable=False)


def test_a_mask_makes_zeros_of_any_value_after_the_inner_constraint():
    constraint = MaskConstraint(mask(True, False, False, False, True), keras.constraints.NonNeg())
    value = np.array([1, -2, np.nan, 3, -4], "float32")
    made = np.asarray(constraint(keras.ops.convert_to_tensor(value)))
    np.testing.assert_array_equal(made, [1, 0, 0, 0, 0])
    assert not np.signbit(made[1:4]).any()
    assert np.asarray(MaskConstraint(mask(False))(keras.ops.ones((1,), "float16"))).dtype == np.float16


def test_masks_are_taken_out_of_a_chain_of_constraints():
    norm = keras.constraints.MaxNorm(2.0)
    first = MaskConstraint(mask(True), norm)
    second = MaskConstraint(mask(False), first)
    assert MaskConstraint.without(second, lambda each: each is second) is first
    left = MaskConstraint.without(second, lambda each: each is first)
    assert left.mask is second.mask and left.inner is norm
    assert MaskConstraint.without(second, lambda each: True) is norm
    assert MaskConstraint.without(second, lambda each: False) is second
    assert MaskConstraint.without(norm, lambda each: True) is norm and MaskConstraint.without(None, lambda each: True) is None


def test_the_users_constraint_is_composed_and_given_back(data):
    norm = keras.constraints.MaxNorm(0.5)
    model = compiled(build(kernel_constraint=norm))
    fit(model, data, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75)), epochs=3)
    kernel = model.get_layer("first").kernel
    assert reached(model) and kernel.constraint is norm
    assert np.linalg.norm(kernel.numpy(), axis=0).max() <= 0.5 + 1e-5


def test_updates_past_the_optimizer_are_noticed_at_once(data):
    class Past(OwnStep):
        def train_step(self, batch):
            for variable in self.trainable_variables:
                variable.assign(variable + 0.01)
            self.optimizer.iterations.assign_add(1)
            return {"loss": 0.0}

    model = compiled(with_class(Past))
    watch = Zeros()
    with pytest.raises(tfopt.PruningError, match="zeros must stay zero.*first/kernel"):
        fit(model, data, watch, tfopt.PruningCallback(tfopt.ConstantSparsity(0.5)))
    assert len(watch.seen) == 1 and not constraints(model)


def test_weights_that_another_callback_restores_are_masked(data):
    class Restore(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            self.model.set_weights([np.ones_like(weight) for weight in self.model.get_weights()])

    model = compiled()
    fit(model, data, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75)), Restore(), epochs=2)
    assert reached(model)


def test_after_an_interrupt_the_next_fit_is_clean(data):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    norm = keras.constraints.MaxNorm(2.0)
    model = compiled(build(kernel_constraint=norm))
    with pytest.raises(KeyboardInterrupt):
        fit(model, data, tfopt.PruningCallback(tfopt.ConstantSparsity(0.5)), Interrupt())
    assert isinstance(model.get_layer("first").kernel.constraint, MaskConstraint)  # the zeros are held
    fit(model, data, tfopt.PruningCallback(tfopt.ConstantSparsity(0.75)), epochs=2)
    assert reached(model) and model.get_layer("first").kernel.constraint is norm


def test_swapped_averages_are_refused(data):
    model = compiled(optimizer=keras.optimizers.Adam(use_ema=True))
    with pytest.raises(tfopt.PruningError, match="SwapEMAWeights"):
        fit(model, data, keras.callbacks.SwapEMAWeights(), tfopt.PruningCallback(tfopt.ConstantSparsity(0.5)))
    assert not constraints(model)


def test_subclasses_choose_the_weights():
    callback = MaskingCallback()
    callback.set_model(build())
    with pytest.raises(NotImplementedError):
        callback.install()
