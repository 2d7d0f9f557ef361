"""Zeros that a model begins with, and hooks that a loop of the caller's own calls or forgets."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers

import tfopt

RNG = np.random.default_rng(0)
STEPS, ROWS = RNG.normal(size=(64, 5, 8)), RNG.normal(size=(64, 8))
TARGETS = RNG.normal(size=(64, 2))


def made(*inner, shape=(8,)):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(shape), *inner, layers.Flatten(), layers.Dense(2)])
    model.compile("adam", "mse", jit_compile=False)
    return model


class Sparse(keras.initializers.Initializer):
    """An initializer with zeros, of the caller's own."""

    def __call__(self, shape, dtype=None):
        return keras.ops.convert_to_tensor(np.random.default_rng(1).normal(size=shape) * (np.indices(shape).sum(0) % 5 == 0), dtype)


STARTS = {
    "SimpleRNN": ((5, 8), lambda: layers.SimpleRNN(16, recurrent_initializer="identity")),
    "GRU": ((5, 8), lambda: layers.GRU(8, recurrent_initializer=Sparse())),
    "orthogonal": ((5, 8), lambda: layers.LSTM(8, recurrent_initializer="orthogonal")),
    "Dense": ((8,), lambda: layers.Dense(8, kernel_initializer="identity")),
    "SeparableConv1D": ((5, 8), lambda: layers.SeparableConv1D(8, 3, pointwise_initializer=Sparse())),
    "nested": ((8,), lambda: keras.Sequential([layers.Dense(8, kernel_initializer=keras.initializers.Identity(0.5))])),
}


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("case", STARTS)
def test_zeros_of_the_start_are_not_pruned(case, scope):
    shape, make = STARTS[case]
    model = made(make(), shape=shape)
    data = STEPS if len(shape) == 2 else ROWS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        callback = tfopt.PruningCallback(tfopt.PolynomialDecay(0.5), scope=scope)
        history = model.fit(data, TARGETS, epochs=4, verbose=0, callbacks=[callback]).history
    assert history["sparsity"][-1] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("saved", [False, True])
def test_zeros_of_an_earlier_pruning_stay_and_are_told(saved, tmp_path):
    model = made(layers.Dense(16, kernel_initializer="identity", name="hidden"))
    model.fit(ROWS, TARGETS, epochs=4, verbose=0, callbacks=[tfopt.PruningCallback(tfopt.PolynomialDecay(0.8))])
    if saved:
        model.save(tmp_path / "model.keras")
        model = keras.saving.load_model(tmp_path / "model.keras")
    zeros = model.get_layer("hidden").kernel.numpy() == 0
    with pytest.warns(UserWarning, match="hidden/kernel 79.7% of 50.0%|hidden/kernel 80.5% of 50.0%"):
        model.fit(ROWS, TARGETS, epochs=2, verbose=0, callbacks=[tfopt.PruningCallback(tfopt.ConstantSparsity(0.5, begin=0))])
    np.testing.assert_array_equal(model.get_layer("hidden").kernel.numpy() == 0, zeros)


def test_preserve_sparsity_does_not_freeze_an_untrained_identity():
    model = made(layers.Dense(8, kernel_initializer="identity"), layers.Dense(8, name="pruned"))
    kernel = model.get_layer("pruned").kernel
    kernel.assign(np.where(RNG.random(kernel.shape) < 0.5, 0, kernel.numpy()))
    zeros = kernel.numpy() == 0
    model.fit(ROWS, TARGETS, verbose=0, callbacks=[tfopt.PreserveSparsity()])
    np.testing.assert_array_equal(kernel.numpy() == 0, zeros)
    assert np.count_nonzero(model.layers[0].kernel.numpy()) == 64
    with pytest.raises(tfopt.ArgumentError, match="a dense model"):
        made(layers.Dense(8, kernel_initializer="identity")).fit(ROWS, TARGETS, verbose=0, callbacks=[tfopt.PreserveSparsity()])


SCHEDULE = tfopt.PolynomialDecay(0.5, begin=2, end=8)


def loop(model, callbacks, hooks):
    """12 steps of a loop of the caller's own that calls some hooks."""
    callbacks.on_train_begin()
    for epoch in range(3):
        if "epoch begins" in hooks:
            callbacks.on_epoch_begin(epoch)
        for batch in range(4):
            if "batch begins" in hooks:
                callbacks.on_train_batch_begin(batch)
            part = slice(16 * batch, 16 * batch + 16)
            model.train_on_batch(ROWS[part], TARGETS[part])
            callbacks.on_train_batch_end(batch)
        if "epoch ends" in hooks:
            callbacks.on_epoch_end(epoch, {})
    callbacks.on_train_end()


def hooks_of(model, is_list):
    callback = tfopt.PruningCallback(SCHEDULE, frequency=2)
    if is_list:
        return keras.callbacks.CallbackList([callback], model=model)
    callback.set_model(model)
    return callback


@pytest.mark.parametrize("is_list", [False, True], ids=["callback", "list"])
@pytest.mark.parametrize("hooks", [("epoch begins",), ("batch begins",), ("epoch begins", "batch begins", "epoch ends")], ids=str)
def test_a_loop_with_some_hooks_reaches_the_sparsity(hooks, is_list):
    model = made(layers.Dense(16))
    loop(model, hooks_of(model, is_list), hooks)
    assert (model.layers[0].kernel.numpy() == 0).mean() == 0.5


@pytest.mark.parametrize("is_list", [False, True], ids=["callback", "list"])
@pytest.mark.parametrize("hooks", [(), ("epoch ends",)], ids=str)
def test_a_loop_without_the_hooks_is_refused(hooks, is_list):
    model = made(layers.Dense(16))
    with pytest.raises(tfopt.PruningError, match="without on_epoch_begin and on_train_batch_begin"):
        loop(model, hooks_of(model, is_list), hooks)
    assert model.layers[0].kernel.constraint is None


def test_a_list_of_the_callers_own_needs_the_length_of_the_run_for_fractions():
    model = made(layers.Dense(16))
    schedule = tfopt.PolynomialDecay(0.5)
    without = keras.callbacks.CallbackList([tfopt.PruningCallback(schedule)], add_history=True, model=model)
    with pytest.raises(tfopt.ArgumentError, match=r"the length of the run is unknown.*CallbackList\(\.\.\., epochs=, steps=\)"):
        model.fit(ROWS, TARGETS, epochs=3, batch_size=16, verbose=0, callbacks=without)
    callbacks = keras.callbacks.CallbackList([tfopt.PruningCallback(schedule)], add_history=True, model=model, epochs=3, steps=4)
    model.fit(ROWS, TARGETS, epochs=3, batch_size=16, verbose=0, callbacks=callbacks)
    assert (model.layers[0].kernel.numpy() == 0).mean() == 0.5


def test_a_list_without_a_model_is_refused():
    callbacks = keras.callbacks.CallbackList([tfopt.PruningCallback(SCHEDULE)], add_history=True, epochs=3, steps=4)
    with pytest.raises(tfopt.ArgumentError, match=r"callbacks without a model.*CallbackList\(callbacks, model=model"):
        made(layers.Dense(16)).fit(ROWS, TARGETS, epochs=3, batch_size=16, verbose=0, callbacks=callbacks)


def test_a_list_within_a_list_is_refused():
    """The inner list does not see an EarlyStopping beside it, which would restore weights of a lower sparsity."""
    for make in (lambda: tfopt.PruningCallback(SCHEDULE), lambda: tfopt.PreserveSparsity()):
        inner = keras.callbacks.CallbackList([make()])
        with pytest.raises(tfopt.ArgumentError, match="a CallbackList within another one"):
            made(layers.Dense(16)).fit(ROWS, TARGETS, epochs=3, verbose=0, callbacks=[keras.callbacks.EarlyStopping(), inner])


@pytest.mark.parametrize(("said", "epoch"), [({"epochs": 3, "steps": 4}, 4), ({"epochs": 6, "steps": 2}, 2)], ids=str)
def test_a_list_that_says_a_shorter_run_is_refused(said, epoch):
    model = made(layers.Dense(16))
    callbacks = keras.callbacks.CallbackList(
        [tfopt.PruningCallback(tfopt.PolynomialDecay(0.5))], add_history=True, model=model, **said
    )
    with pytest.raises(
        tfopt.PruningError, match=rf"epochs={said['epochs']}, steps={said['steps']}\), and epoch {epoch} that begins"
    ):
        model.fit(ROWS, TARGETS, epochs=6, batch_size=16, verbose=0, callbacks=callbacks)
    assert model.layers[0].kernel.constraint is None


def test_a_step_that_was_traced_before_is_noticed():
    import tensorflow as tf

    model = made(layers.Dense(16))

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x, training=True))
        model.optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    batch = tf.constant(ROWS[:16], "float32"), tf.constant(TARGETS[:16], "float32")
    step(*batch)
    callbacks = hooks_of(model, True)
    callbacks.on_train_begin()
    with pytest.raises(tfopt.PruningError, match=r"tf.function.*traced before"):
        for each in range(12):
            callbacks.on_train_batch_begin(each)
            step(*batch)
