"""The other callbacks of a run: some are held back until pruning is finished, and all are given back as they were."""

import keras
import numpy as np
import pytest
from small_net import build, compiled, constraints, fit, reached, zeros

import tfopt
from tfopt.pruning.fit_callbacks import FitCallbacks


@pytest.mark.parametrize("order", ["before", "after"])
def test_early_stopping_restores_weights_of_the_final_sparsity(data, order):
    stopping = keras.callbacks.EarlyStopping(monitor="loss", mode="max", patience=1, restore_best_weights=True)
    pruning = tfopt.PruningCallback(tfopt.PolynomialDecay(0.75, end=0.5))
    model = compiled()
    history = fit(model, data, *([stopping, pruning] if order == "before" else [pruning, stopping]), epochs=12)
    assert reached(model)
    # The loss is best, as the largest, at the beginning: restored is the first epoch that was pruned to the end.
    assert stopping.best_epoch == 5 and len(history.history["loss"]) < 12
    assert stopping.start_from_epoch == 0  # the user's callback is as it was


def test_the_best_checkpoint_has_the_final_sparsity(data, tmp_path):
    best = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="loss", mode="max", save_best_only=True)
    every = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True)
    history = fit(compiled(), data, best, every, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75)))
    assert reached(keras.saving.load_model(tmp_path / "best.keras", compile=False))
    model = build()
    for epoch, sparsity in enumerate(history.history["sparsity"], start=1):
        model.load_weights(tmp_path / f"{epoch}.weights.h5")
        assert np.mean(zeros(model)) == pytest.approx(sparsity, abs=0.02)


class Interrupt(keras.callbacks.Callback):
    """Ends a run before its fourth epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 3:
            raise KeyboardInterrupt


def test_interrupted_and_resumed_equals_uninterrupted(data, tmp_path):
    def run(*more, order="before"):
        model = compiled(optimizer=keras.optimizers.SGD(0.1, momentum=0.9))
        pruning = tfopt.PruningCallback(tfopt.PolynomialDecay(0.75))
        fit(model, data, *([pruning, *more] if order == "before" else [*more, pruning]))
        return model

    whole = run()
    assert reached(whole)
    for order in ("before", "after"):
        folder = str(tmp_path / order)
        with pytest.raises(KeyboardInterrupt):
            run(keras.callbacks.BackupAndRestore(folder), Interrupt(), order=order)
        resumed = run(keras.callbacks.BackupAndRestore(folder), order=order)
        for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_resumed_after_steps_that_the_loss_scale_left_out(data, tmp_path):
    def run(*more):
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=2.0**24)
        model = compiled(build(dtype="mixed_float16"), optimizer)
        backup = keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))
        fit(model, data, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75, end=0.5)), backup, *more)
        return model

    with pytest.raises(KeyboardInterrupt):
        run(Interrupt())
    assert reached(run())


@pytest.mark.parametrize("order", [1, -1])
def test_two_schedules_for_different_layers(data, order):
    pruning = [
        tfopt.PruningCallback(tfopt.PolynomialDecay(0.75, end=0.2), include="first"),
        tfopt.PruningCallback(tfopt.PolynomialDecay(0.5), include="second"),
    ]
    stopping = keras.callbacks.EarlyStopping(monitor="loss", mode="max", patience=1, restore_best_weights=True)
    model = compiled()
    history = fit(model, data, *pruning[::order], stopping, epochs=12)
    assert zeros(model) == pytest.approx([0.75, 0.5]) and stopping.best_epoch >= 8
    assert history.history["sparsity"][-1] == pytest.approx((0.75 * 12 + 0.5 * 16) / 28)
    assert not constraints(model)


def test_two_schedules_for_one_layer_are_refused(data):
    norm = keras.constraints.MaxNorm(2.0)
    model = compiled(build(kernel_constraint=norm))
    two = [tfopt.PruningCallback(tfopt.PolynomialDecay(0.75), include=include) for include in ("first", "*")]
    with pytest.raises(tfopt.ArgumentError, match=r"by one PruningCallback. Received: two for first/kernel\."):
        fit(model, data, *two)
    assert model.get_layer("first").kernel.constraint is norm


def test_the_users_list_of_callbacks_is_given_back(data):
    own = [
        keras.callbacks.EarlyStopping(monitor="loss"),
        tfopt.PruningCallback(tfopt.ConstantSparsity(0.75)),
        keras.callbacks.History(),
    ]
    model = compiled()
    callbacks = keras.callbacks.CallbackList(own, model=model, epochs=2, steps=4, verbose=0)
    model.fit(*data, batch_size=16, epochs=2, verbose=0, callbacks=callbacks)
    assert reached(model) and set(callbacks.callbacks) == set(own)


class Asks(keras.callbacks.Callback):
    """Looks at the other callbacks when training begins."""

    def on_train_begin(self, logs=None):
        self.found = FitCallbacks(self)


def test_the_list_is_found_while_keras_calls():
    first, second = Asks(), Asks()
    callbacks = keras.callbacks.CallbackList([first, second], model=build())
    callbacks.on_train_begin()
    assert first.found.known and first.found.others(Asks) == [second]
    assert first.found.same_run(second.found) and not first.found.same_run(first.found)
    ended = []
    second.found.enclose(lambda: ended.append(len(callbacks.callbacks)))
    assert callbacks.callbacks[:2] == [second, first]
    callbacks.on_train_end()
    assert ended == [3]
    second.found.release()
    assert callbacks.callbacks == [second, first] and not second.found.known and not second.found.others(Asks)
    asks = Asks()
    asks.on_train_begin()
    assert not asks.found.known and not asks.found.same_run(first.found)
