"""Keras 3 and Keras 2 prune alike: against each other and against tfmot's own schedules."""

import keras
import numpy as np
import pytest
import tf_keras

import tfopt
from tfopt.keras2 import door
from tfopt.keras2.prune import prune
from tfopt.keras2.pruning_callbacks import pruning_callbacks
from tfopt.keras2.strip import strip

STEPS, EPOCHS, BATCH = 8, 3, 32
tfmot = door.tfmot().sparsity.keras


def build_mlp(kind, first):
    layers = kind.layers
    return kind.Sequential(
        [
            first,
            layers.Flatten(name="flat"),
            layers.Dense(32, activation="relu", name="a"),
            layers.Dense(24, activation="relu", name="b"),
            layers.Dense(10, name="out"),
        ]
    )


def build_conv(kind, first):
    layers = kind.layers
    return kind.Sequential(
        [
            first,
            layers.Conv2D(8, 3, activation="relu", name="a"),
            layers.DepthwiseConv2D(3, name="depthwise"),
            layers.SeparableConv2D(12, 3, activation="relu", name="b"),
            layers.Flatten(name="flat"),
            layers.Dense(16, activation="relu", name="c"),
            layers.Dense(10, name="out"),
        ]
    )


def twins(build):
    """The same model with the same weights in Keras 3 and Keras 2."""
    keras.utils.set_random_seed(3)
    new = build(keras, keras.Input((8, 8, 1)))
    old = build(tf_keras, tf_keras.layers.InputLayer((8, 8, 1)))
    old.set_weights(new.get_weights())
    return new, old


def recorder(kind, weights_of):
    """A callback that keeps the sparsity of each weight after every step, as the next step sees it."""

    class Recorder(kind.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.seen.append([float(np.mean(value == 0)) for value in weights_of(self.model)])

    made = Recorder()
    made.seen = []
    return made


def masked_weights(model):
    """What tfmot makes of the pruned weights before it computes with them."""
    wrappers = [layer for layer in model.layers if hasattr(layer, "pruning_vars")]
    return [weight.numpy() * mask.numpy() for wrapper in wrappers for weight, mask, _ in wrapper.pruning_vars]


def fit_alike(kind, model, digits, callbacks, rate=0.1):
    """Trains with plain SGD on the same data in the same order."""
    (images, labels), _ = digits
    loss = kind.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(kind.optimizers.SGD(rate), loss)
    count = STEPS * BATCH
    return model.fit(images[:count], labels[:count], batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0, callbacks=callbacks)


def fit_new(model, digits, schedule, frequency, rate=0.1):
    pruning = tfopt.PruningCallback(schedule, frequency=frequency)
    record = recorder(keras, lambda model: [target.variable.numpy() for target in pruning.targets])
    history = fit_alike(keras, model, digits, [pruning, record], rate)
    return record.seen, history.history["sparsity"]


# tfmot counts the steps from 1, tfopt from 0. Its ConstantSparsity would choose anew at every step up to `end_step`.
ORACLES = {
    "polynomial": (
        tfopt.PolynomialDecay(0.8, begin=0, end=18),
        lambda: tfmot.PolynomialDecay(0.0, 0.8, begin_step=1, end_step=19, frequency=3),
    ),
    "polynomial from 30 %, linear": (
        tfopt.PolynomialDecay(0.75, initial_sparsity=0.3, begin=4, end=16, power=1),
        lambda: tfmot.PolynomialDecay(0.3, 0.75, begin_step=5, end_step=17, power=1, frequency=3),
    ),
    "constant": (
        tfopt.ConstantSparsity(0.6, begin=5),
        lambda: tfmot.ConstantSparsity(0.6, begin_step=6, end_step=6, frequency=3),
    ),
}


@pytest.mark.parametrize(
    "build, case",
    [
        pytest.param(build_mlp, "polynomial", id="mlp polynomial"),
        pytest.param(build_conv, "polynomial from 30 %, linear", id="conv linear", marks=pytest.mark.slow),
        pytest.param(build_mlp, "constant", id="mlp constant", marks=pytest.mark.slow),
    ],
)
def test_keras_3_prunes_as_tfmot(digits, build, case):
    schedule, oracle = ORACLES[case]
    new, old = twins(build)
    own = prune(old, schedule, frequency=3)
    chosen = {layer.layer.name for layer in own.layers if hasattr(layer, "pruning_vars")}
    assert chosen == {"a", "b", "c"} & {layer.name for layer in old.layers}
    # tfmot wraps the layers themselves: of a copy, and without our code.
    direct = tf_keras.models.clone_model(old)
    direct.set_weights(old.get_weights())
    direct = tf_keras.models.clone_model(
        direct, clone_function=lambda layer: tfmot.prune_low_magnitude(layer, oracle()) if layer.name in chosen else layer
    )
    seen, shares = fit_new(new, digits, schedule, 3)
    record = recorder(tf_keras, masked_weights)
    fit_alike(tf_keras, direct, digits, [tfmot.UpdatePruningStep(), record])
    own_record = recorder(tf_keras, masked_weights)
    history = fit_alike(tf_keras, own, digits, [*pruning_callbacks(), own_record])
    assert seen == record.seen == own_record.seen
    assert len({tuple(each) for each in seen}) > (1 if case == "constant" else 4)
    np.testing.assert_allclose(shares, history.history["sparsity"], atol=1e-12)
    for model in (tfmot.strip_pruning(direct), strip(own)):
        for ours, theirs in zip(new.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_fractions_and_the_last_step_mean_the_same_in_both(digits):
    schedule = tfopt.PolynomialDecay(0.7, begin=0.1, end=1.0)
    new, old = twins(build_mlp)
    own = prune(old, schedule)
    _, shares = fit_new(new, digits, schedule, None)
    history = fit_alike(tf_keras, own, digits, pruning_callbacks())
    np.testing.assert_allclose(shares, history.history["sparsity"], atol=1e-12)
    for ours, theirs in zip(new.get_weights(), strip(own).get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.slow
def test_the_one_difference_is_that_tfmot_lets_pruned_weights_come_back(digits):
    """At a rate of 1.5 one step lifts a pruned weight over the threshold. Zeroed before each step, none comes back."""
    schedule = tfopt.PolynomialDecay(0.8, begin=0, end=18)

    class Zero(tf_keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            for layer in self.model.layers:
                if hasattr(layer, "pruning_obj"):
                    layer.pruning_obj.weight_mask_op()

    gaps = []
    new, old = twins(build_mlp)
    seen, _ = fit_new(new, digits, schedule, 2, rate=1.5)
    for callbacks in ([], [Zero()]):
        own = prune(old, schedule, frequency=2)
        record = recorder(tf_keras, masked_weights)
        fit_alike(tf_keras, own, digits, [*pruning_callbacks(), *callbacks, record], rate=1.5)
        assert seen == record.seen  # the number of zeros never differs
        pairs = zip(new.get_weights(), strip(own).get_weights(), strict=True)
        gaps.append(max(np.abs(ours - theirs).max() for ours, theirs in pairs))
    assert gaps[0] > 0.1
    assert gaps[1] < 1e-4
