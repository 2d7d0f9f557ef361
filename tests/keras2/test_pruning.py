"""Pruning of Keras 2 models by tfmot: against tfmot's own schedules, against Keras 3, and what tfmot cannot do."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tf_keras

import tfopt
from tfopt.keras2 import door
from tfopt.keras2.pruning import prune, pruning_callbacks
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


def small(*layers, shape=(6, 4)):
    """A Keras 2 model that ends with a layer that is not pruned."""
    return tf_keras.Sequential([tf_keras.layers.InputLayer(shape), *layers, tf_keras.layers.Dense(2, name="out")])


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


def train(pruned, epochs=3, **options):
    """Trains a pruned Keras 2 model on noise, four steps an epoch."""
    rng = np.random.default_rng(0)
    pruned.compile("adam", "mse", **options)
    x, y = (rng.random((64, *shape[1:]), "float32") for shape in (pruned.input_shape, pruned.output_shape))
    return pruned.fit(x, y, batch_size=16, epochs=epochs, verbose=0, callbacks=pruning_callbacks())


def sparsities(model):
    return {weight.name: round(weight.sparsity, 3) for weight in tfopt.sparsity_report(model).weights}


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


@pytest.mark.parametrize("case", ORACLES)
@pytest.mark.parametrize("build", [build_mlp, build_conv], ids=["mlp", "conv"])
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


def test_the_one_difference_is_that_tfmot_lets_pruned_weights_come_back(digits):
    """At a rate of 1.5 one step lifts a pruned weight over the threshold. Zeroed before each step, none comes back."""
    schedule = tfopt.PolynomialDecay(0.8, begin=0, end=18)

    class Zero(tf_keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            for layer in self.model.layers:
                if hasattr(layer, "pruning_obj"):
                    layer.pruning_obj.weight_mask_op()

    gaps = []
    for callbacks in ([], [Zero()]):
        new, old = twins(build_mlp)
        own = prune(old, schedule, frequency=2)
        seen, _ = fit_new(new, digits, schedule, 2, rate=1.5)
        record = recorder(tf_keras, masked_weights)
        fit_alike(tf_keras, own, digits, [*pruning_callbacks(), *callbacks, record], rate=1.5)
        assert seen == record.seen  # the number of zeros never differs
        pairs = zip(new.get_weights(), strip(own).get_weights(), strict=True)
        gaps.append(max(np.abs(ours - theirs).max() for ours, theirs in pairs))
    assert gaps[0] > 0.1
    assert gaps[1] < 1e-4


def test_the_callers_model_stays_and_the_stripped_one_is_plain(tmp_path):
    model = small(tf_keras.layers.Dense(16, name="a"))
    before = model.get_weights()
    pruned = prune(model, tfopt.ConstantSparsity(0.5))
    train(pruned)
    assert [layer.name for layer in model.layers] == ["a", "out"]
    assert all(np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True))
    stripped = strip(pruned)
    assert [type(layer) for layer in stripped.layers] == [tf_keras.layers.Dense] * 2
    assert sparsities(stripped) == {"a/kernel": 0.5, "out/kernel": 0.0}
    x = np.ones((2, 6, 4), "float32")
    for name in ("model.h5", "model.keras"):
        stripped.save(tmp_path / name)
        again = tf_keras.models.load_model(tmp_path / name, compile=False)
        np.testing.assert_allclose(again(x), pruned(x, training=False), atol=1e-6)


def test_nested_and_shared_and_wrapped_layers():
    layers = tf_keras.layers
    inner = tf_keras.Sequential([layers.InputLayer((6, 8)), layers.Dense(8, name="deep")], name="inner")
    image = tf_keras.Input((6, 4))
    shared = layers.Dense(8, name="shared")
    hidden = inner(shared(shared(layers.Dense(8, name="first")(image))))
    hidden = layers.Bidirectional(layers.GRU(8, name="gru", return_sequences=True), name="both")(hidden)
    hidden = layers.MultiHeadAttention(2, 4, name="attention")(hidden, hidden)
    hidden = layers.TimeDistributed(layers.Dense(8, name="timed"), name="each")(hidden)
    pruned = prune(tf_keras.Model(image, layers.Dense(2, name="out")(hidden)), tfopt.PolynomialDecay(0.5, end=1.0))
    history = train(pruned)
    stripped = strip(pruned)
    found = sparsities(stripped)
    kernels = [name for name in found if name.endswith("kernel")]
    assert len(kernels) == 3 + 4 + 4 + 1 + 1
    assert [name for name in kernels if found[name] != 0.5] == ["out/kernel"]
    assert history.history["sparsity"][-1] == pytest.approx(0.5)
    x = np.ones((2, 6, 4), "float32")
    np.testing.assert_allclose(stripped(x), pruned(x, training=False), atol=1e-6)


def test_selection_and_plan():
    layers = tf_keras.layers
    model = small(layers.DepthwiseConv1D(3, name="depthwise"), layers.Dense(8, name="a"), layers.Dense(8, name="b"))
    cases = [
        (tfopt.ConstantSparsity(0.5), {"exclude": "a"}, {"b/kernel": 0.5}),
        (tfopt.ConstantSparsity(0.5), {"include": ["depthwise", "out"]}, {"depthwise/depthwise_kernel": 0.5, "out/kernel": 0.5}),
        (tfopt.ConstantSparsity({"a": 0.25, "b": 0.75}), {}, {"a/kernel": 0.25, "b/kernel": 0.75}),
    ]
    for schedule, options, expected in cases:
        pruned = prune(model, schedule, **options)
        train(pruned, epochs=1)
        assert {name: share for name, share in sparsities(strip(pruned)).items() if share} == expected
    with pytest.raises(tfopt.ArgumentError, match="exclude must match layers.*Closest: depthwise"):
        prune(model, tfopt.ConstantSparsity(0.5), exclude="depthwize")
    lstm = small(layers.LSTM(8, name="lstm"))
    names = [weight.name for weight in tfopt.sparsity_report(lstm).weights if weight.name.startswith("lstm")]
    with pytest.raises(tfopt.ArgumentError, match="a plan must name layers"):
        prune(lstm, tfopt.ConstantSparsity({names[0]: 0.5}))


def test_blocks_and_n_by_m():
    layers = tf_keras.layers
    block = prune(small(layers.Dense(16, name="a"), shape=(8,)), tfopt.PolynomialDecay(0.5, end=1.0), pattern=tfopt.Block((2, 4)))
    train(block)
    kernel = strip(block).layers[0].kernel.numpy()
    zeros = (kernel.reshape(4, 2, 4, 4) == 0).sum(axis=(1, 3))
    assert sorted(zeros.ravel()) == [0] * 8 + [8] * 8
    model = small(layers.Conv2D(8, 3, name="a"), layers.Flatten(), layers.Dense(8, name="b"), shape=(6, 6, 4))
    pruned = prune(model, tfopt.ConstantSparsity(0.75), pattern=tfopt.NByM(1, 4))
    train(pruned)
    for name in ("a", "b"):
        kernel = strip(pruned).get_layer(name).kernel.numpy()
        groups = np.moveaxis(kernel, -1, 0).reshape(-1, 4)
        assert set(np.count_nonzero(groups, axis=1)) == {1}


@pytest.mark.parametrize(
    "layer, pattern, reason",
    [
        ("Conv2D", tfopt.Block((2, 2)), r"blocks in matrices .* Received: a/kernel of shape \(3, 3, 4, 8\)"),
        ("Dense", tfopt.Block((4, 1)), r"two blocks and more along each side. Received: a/kernel of shape \(4, 8\)"),
        ("Conv1D", tfopt.NByM(2, 4), r"N of M along the input channels .* Received: a/kernel of shape \(3, 4, 8\)"),
        ("Conv2D", tfopt.NByM(3, 6), r"a multiple of 6. Received: a/kernel of shape \(3, 3, 4, 8\)"),
    ],
)
def test_patterns_that_tfmot_cannot_make_are_refused(layer, pattern, reason):
    sizes = (8,) if layer == "Dense" else (8, 3)
    shape = (8, 8, 4) if layer == "Conv2D" else (8, 4)
    model = small(getattr(tf_keras.layers, layer)(*sizes, name="a"), tf_keras.layers.Flatten(), shape=shape)
    with pytest.raises(tfopt.ArgumentError, match=reason):
        prune(model, tfopt.ConstantSparsity(0.5), pattern=pattern)


def test_zeros_stay_in_a_second_fit_and_in_a_model_that_has_some():
    pruned = prune(small(tf_keras.layers.Dense(16, name="a")), tfopt.PolynomialDecay(0.5))
    train(pruned)
    assert train(pruned).history["sparsity"] == [0.5, 0.5, 0.5]
    again = prune(strip(pruned), tfopt.PolynomialDecay(0.75, end=1.0))
    shares = train(again).history["sparsity"]
    assert shares[0] >= 0.5
    assert shares[-1] == 0.75
    later = prune(strip(again), tfopt.PolynomialDecay(0.875, begin=0.7, end=1.0))
    assert train(later).history["sparsity"] == [0.75, 0.75, 0.875]


def test_a_run_that_stops_early_misses_its_target():
    pruned = prune(small(tf_keras.layers.Dense(16, name="a")), tfopt.PolynomialDecay(0.8))
    pruned.compile("adam", "mse")
    x, y = np.ones((64, 6, 4), "float32"), np.ones((64, 6, 2), "float32")
    stop = tf_keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(pruned, "stop_training", True))
    with pytest.raises(tfopt.PruningError, match=r"a/kernel .* of 79.69%: training ended at optimizer step 2, .* ends at 6"):
        pruned.fit(x, y, epochs=4, verbose=0, callbacks=[*pruning_callbacks(), stop])
    late = prune(small(tf_keras.layers.Dense(16)), tfopt.PolynomialDecay(0.8, begin=0, end=100))
    with pytest.raises(tfopt.PruningError, match="end at optimizer step 100, and a run of 12 steps that ends at step 12"):
        train(late)
    ties = prune(small(tf_keras.layers.Dense(16, name="a", kernel_initializer="ones")), tfopt.ConstantSparsity(0.5))
    ties.compile(tf_keras.optimizers.SGD(0.0), "mse")
    with pytest.raises(tfopt.PruningError, match="equal in magnitude, of which tfmot keeps all"):
        ties.fit(x, y, verbose=0, callbacks=pruning_callbacks())
    unknown = prune(small(tf_keras.layers.Dense(16)), tfopt.PolynomialDecay(0.8))
    unknown.compile("adam", "mse")
    with pytest.raises(tfopt.ArgumentError, match="the length of the run is unknown"):
        unknown.fit(((x, y) for _ in range(3)), verbose=0, callbacks=pruning_callbacks())


def test_each_keras_is_told_the_call_that_serves_it():
    new = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(2)])
    new.compile("sgd", "mse")
    x, y = np.ones((8, 4), "float32"), np.ones((8, 2), "float32")
    for call in (
        lambda: prune(new, tfopt.ConstantSparsity(0.5)),
        lambda: strip(new),
        lambda: new.fit(x, y, verbose=0, callbacks=pruning_callbacks()),
    ):
        with pytest.raises(tfopt.ArgumentError, match=r"serves Keras 2 .*tfopt\.PruningCallback\(schedule\)"):
            call()


def test_pruning_callback_tells_keras_2_models_of_legacy():
    model = small(tf_keras.layers.Dense(8), shape=(4,))
    model.compile("sgd", "mse")
    x, y = np.ones((8, 4), "float32"), np.ones((8, 2), "float32")
    for callback in (tfopt.PruningCallback(tfopt.ConstantSparsity(0.5)), tfopt.PreserveSparsity()):
        with pytest.raises(tfopt.ArgumentError, match=r"serves Keras 3 models.*tfopt\.legacy\.prune"):
            model.fit(x, y, verbose=0, callbacks=[callback])


def test_wrong_arguments():
    model = small(tf_keras.layers.Dense(8, name="a"))
    schedule = tfopt.ConstantSparsity(0.5)
    for message, call in {
        "schedule must be tfopt.ConstantSparsity": lambda: prune(model, 0.5),
        "frequency must be None or an int above 0": lambda: prune(model, schedule, frequency=0),
        "pattern must be": lambda: prune(model, schedule, pattern=(2, 4)),
        "ends with a sparsity of 0.75": lambda: prune(model, schedule, pattern=tfopt.NByM(1, 4)),
        "at the first step and not bit by bit": lambda: prune(model, tfopt.PolynomialDecay(0.5), pattern=tfopt.NByM(2, 4)),
        "must not be under pruning yet": lambda: prune(prune(model, schedule), schedule),
        "must come from tfopt.legacy.prune or tfopt.legacy.quantize_aware. Received: .*a plain one": lambda: strip(model),
        "needs a built Sequential or functional": lambda: prune(tf_keras.Sequential([tf_keras.layers.Dense(2)]), schedule),
        "Received: str": lambda: prune("model.h5", schedule),
        "which has no pruned layer": lambda: train(model),
        "with a schedule of tfmot": lambda: train(
            tfmot.prune_low_magnitude(small(tf_keras.layers.Dense(8)), tfmot.ConstantSparsity(0.5, 0))
        ),
    }.items():
        with pytest.raises(tfopt.ArgumentError, match=message):
            call()


def test_the_schedule_survives_a_configuration():
    pruned = prune(small(tf_keras.layers.Dense(8, name="a")), tfopt.PolynomialDecay(0.5, end=0.9), frequency=7)
    wrapper = pruned.layers[0]
    again = type(wrapper).from_config(wrapper.get_config()).pruning_schedule
    assert again.schedule == tfopt.PolynomialDecay(0.5, end=0.9)
    assert again.frequency == 7


@pytest.mark.parametrize("value", [None, "1"], ids=["unset", "set"])
def test_tfmot_leaves_the_meaning_of_tf_keras(value):
    code = """
import operator, os, sys
import tfopt
assert not {"tensorflow", "tf_keras"} & set(sys.modules)
tfopt.legacy.tfmot()
import tensorflow
print(os.environ.get("TF_USE_LEGACY_KERAS"), operator.attrgetter("keras.Model")(tensorflow).__module__.partition(".")[0])
"""
    environment = {name: text for name, text in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    environment |= {} if value is None else {"TF_USE_LEGACY_KERAS": value}
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == [str(value), "keras" if value is None else "tf_keras"]
