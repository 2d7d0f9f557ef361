"""`PruningCallback` in all the ways that models are trained, and what is refused at the beginning."""

import itertools
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers
from small_net import OwnStep, Zeros, build, compiled, constraints, fit, reached, with_class, zeros

import tfopt

WAYS = {
    "steps_per_execution": lambda: compiled(steps_per_execution=3),
    "jit_compile": lambda: compiled(jit_compile=True),
    "eager": lambda: compiled(run_eagerly=True),
    "momentum": lambda: compiled(optimizer=keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True)),
    "weight decay": lambda: compiled(optimizer=keras.optimizers.AdamW(0.01, weight_decay=0.1)),
    "accumulation": lambda: compiled(optimizer=keras.optimizers.Adam(0.01, gradient_accumulation_steps=2)),
    "ema": lambda: compiled(optimizer=keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9)),
    "ema overwrite": lambda: compiled(optimizer=keras.optimizers.Adam(0.01, use_ema=True, ema_overwrite_frequency=2)),
    "clipnorm": lambda: compiled(optimizer=keras.optimizers.Lion(0.001, global_clipnorm=0.1)),
    "loss scale": lambda: compiled(optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01))),
    "bfloat16": lambda: compiled(build(dtype="mixed_bfloat16")),
    "float16": lambda: compiled(build(dtype="mixed_float16")),
    "train_step": lambda: compiled(with_class(OwnStep)),
    "regularizer": lambda: compiled(build(kernel_regularizer="l2"), metrics=["accuracy"]),
}


# Ways with a near relative among the others.
VARIANTS = ("momentum", "clipnorm", "ema", "loss scale", "bfloat16", "regularizer")


@pytest.mark.parametrize("way", [pytest.param(way, marks=pytest.mark.slow if way in VARIANTS else []) for way in WAYS])
def test_holds(way, data):
    model = WAYS[way]()
    watch = Zeros()
    history = fit(model, data, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75)), watch, epochs=4)
    assert reached(model), zeros(model)
    assert history.history["sparsity"][-1] == pytest.approx(0.75)
    assert all(np.diff(history.history["sparsity"]) >= 0) and history.history["sparsity"][0] > 0
    rising = np.array(watch.seen)
    assert (np.diff(rising, axis=0) >= -1e-9).all()  # no zero is lost in any step
    assert not constraints(model)


def test_holds_under_mirrored_strategy():
    script = pathlib.Path(__file__).with_name("mirrored.py")
    finished = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert finished.stdout.split()[-1] == "held"


def test_a_model_that_was_trained_before(data):
    model = compiled(optimizer=keras.optimizers.SGD(0.1))
    fit(model, data, epochs=1)  # its step is traced without masks
    fit(model, data, tfopt.PruningCallback(tfopt.ConstantSparsity(0.75)), epochs=1)
    assert reached(model)
    fit(model, data, epochs=1)  # and now again without
    assert sum(zeros(model)) < 0.2


def test_frozen_layers_are_left_and_listed(data):
    model = build()
    model.get_layer("first").trainable = False
    pruning = tfopt.PruningCallback(tfopt.PolynomialDecay(0.75))
    fit(compiled(model), data, pruning, epochs=2)
    assert zeros(model) == pytest.approx([0, 0.75]) and "frozen" in pruning.skipped["first/kernel"]
    fit(compiled(model), data, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75), include="first"), epochs=2)
    assert zeros(model)[0] == pytest.approx(0.75)


def test_shared_and_nested_and_subclassed(data):
    class Block(layers.Layer):
        def __init__(self):
            super().__init__(name="block")
            self.parts = {"a": [layers.Dense(8, name="inner")]}

        def build(self, shape):
            self.parts["a"][0].build(shape)

        def call(self, x):
            return self.parts["a"][0](x)

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.nested = keras.Sequential([keras.Input((12,)), layers.Dense(12, name="deep")], name="nested")
            self.shared = layers.Dense(12, activation="relu", name="shared")
            self.block = Block()
            self.head = layers.Dense(3, name="head")

        def call(self, x):
            return self.head(self.block(self.shared(self.shared(self.nested(x)))))

    keras.utils.set_random_seed(0)
    model = Net()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    pruning = tfopt.PruningCallback(tfopt.PolynomialDecay(0.5))
    fit(model, data, pruning, epochs=2)
    assert sorted(target.name for target in pruning.targets) == ["block/inner/kernel", "nested/deep/kernel", "shared/kernel"]
    assert all((target.variable.numpy() == 0).mean() == 0.5 for target in pruning.targets)
    assert "output layer" in pruning.skipped["head/kernel"]


@pytest.mark.parametrize(
    "options, pruned, reason",
    [
        ({"include": ["head", "fir*"], "exclude": "head"}, ["first"], "excluded"),
        ({"schedule": tfopt.PolynomialDecay({"second": 0.5})}, ["second"], "not in the plan"),
    ],
    ids=["selectors", "plan"],
)
def test_selectors_and_plans(data, options, pruned, reason):
    pruning = tfopt.PruningCallback(**{"schedule": tfopt.ConstantSparsity(0.5), **options})
    fit(compiled(), data, pruning, epochs=2)
    assert [target.layer_name for target in pruning.targets] == pruned and pruning.skipped["head/kernel"] == reason


def test_several_fits_never_fall_behind(data):
    model, pruning = compiled(), tfopt.PruningCallback(tfopt.PolynomialDecay(0.75))
    fit(model, data, pruning, epochs=3)
    history = fit(model, data, pruning, epochs=3)
    assert history.history["sparsity"] == pytest.approx([0.75] * 3) and reached(model)
    history = fit(model, data, tfopt.PruningCallback(tfopt.PolynomialDecay(0.875, initial_sparsity=0.75)), epochs=3)
    assert history.history["sparsity"][0] >= 0.75 and reached(model, 0.875)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_zeros_of_the_beginning_stay_before_the_schedule_begins(data, scope):
    model = compiled(tfopt.prune(build(), 0.75))
    watch = Zeros()
    fit(model, data, watch, tfopt.PruningCallback(tfopt.PolynomialDecay(0.875, begin=0.5, end=0.9), scope=scope), epochs=3)
    assert np.mean(watch.seen, axis=1).min() >= 0.75 and np.mean(zeros(model)) == pytest.approx(0.875, abs=0.02)


@pytest.mark.parametrize("pattern", [tfopt.Unstructured(), tfopt.NByM(2, 4)], ids=["unstructured", "2:4"])
def test_a_pruned_weight_does_not_come_back_in_the_place_of_another_zero(data, pattern):
    class Grow(keras.callbacks.Callback):
        """Makes weights zero that no mask holds yet, the first of them at the front."""

        def on_train_batch_end(self, batch, logs=None):
            mask = pruning._masks[0].numpy()
            held.append(~mask)
            value = model.get_layer("first").kernel.numpy()
            value[tuple(np.argwhere(mask)[0])] = 0
            model.get_layer("first").kernel.assign(value)

    held, model = [], compiled(optimizer=keras.optimizers.SGD(0.0))
    pruning = tfopt.PruningCallback(tfopt.PolynomialDecay(0.5), pattern=pattern, frequency=1)
    fit(model, data, pruning, Grow())
    for before, after in itertools.pairwise(held):
        assert after[before].all()
    assert held[-1].mean() == 0.5


def test_steps_are_the_optimizers(data):
    pruning = tfopt.PruningCallback(tfopt.PolynomialDecay(0.75, begin=8, end=16), frequency=4)
    history = fit(compiled(), data, pruning)  # 4 steps an epoch
    due = [0, 0, 0.75 * (1 - 0.5**3), 0.75, 0.75, 0.75]
    assert history.history["sparsity"] == pytest.approx(due, abs=1 / 192)


@pytest.mark.parametrize("begun", [0, 4], ids=["from the beginning", "initial_epoch"])
def test_validation_and_logs_see_the_sparsity(data, tmp_path, begun):
    """With `initial_epoch` and a new optimizer the run begins there."""
    seen = []

    class Look(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            seen.append(np.mean(zeros(self.model)))

    history = fit(
        compiled(),
        data,
        Look(),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.TensorBoard(tmp_path / "board", write_graph=False),
        tfopt.PruningCallback(tfopt.PolynomialDecay(0.75)),
        validation_data=data,
        initial_epoch=begun,
        epochs=begun + 6,
    )
    shares = history.history["sparsity"]
    assert seen == pytest.approx(shares, abs=0.01)
    assert 0 < shares[0] < 0.5 and shares[-1] == 0.75
    assert "sparsity" in (tmp_path / "log.csv").read_text().splitlines()[0].split(",")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "board" / "train"), size_guidance={"tensors": 0})
    events.Reload()
    assert "epoch_sparsity" in events.Tags()["tensors"]


def test_an_unknown_length_needs_steps(data):
    def batches():
        while True:
            yield data

    model = compiled()
    with pytest.raises(tfopt.ArgumentError, match="steps_per_epoch"):
        model.fit(batches(), epochs=1, verbose=0, callbacks=[tfopt.PruningCallback(tfopt.PolynomialDecay(0.5))])
    model.fit(batches(), epochs=2, steps_per_epoch=4, verbose=0, callbacks=[tfopt.PruningCallback(tfopt.PolynomialDecay(0.75))])
    assert reached(model)


def test_a_schedule_beyond_the_run_is_refused_at_the_beginning(data):
    model = compiled()
    before = model.get_weights()
    with pytest.raises(tfopt.PruningError, match="end at optimizer step 1,000, and a run of 24 steps"):
        fit(model, data, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75, end=1000)))
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not constraints(model)


def test_a_run_that_stops_early_misses_its_sparsity(data):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    with pytest.raises(tfopt.PruningError, match=r"first/kernel \d+\.\d+% of 75.00%.*ended at optimizer step 8"):
        fit(compiled(), data, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75)), Stop())


def test_refusals_at_the_beginning(data):
    class Optimizerless(keras.Model):
        def compile(self, **options):
            super().compile(**options)
            self.optimizer = None

    pruning = tfopt.PruningCallback(tfopt.ConstantSparsity(0.5), pattern=tfopt.Block((5, 1)), include="first")
    with pytest.raises(tfopt.ArgumentError, match=r"does not divide into blocks of 5 x 1"):
        fit(compiled(), data, pruning)
    model = build()
    model.get_layer("first").kernel.assign(np.full((12, 16), np.nan))
    with pytest.raises(tfopt.PruningError, match="NaN or infinity in first/kernel"):
        fit(compiled(model), data, tfopt.PruningCallback(tfopt.ConstantSparsity(0.5)))
    with pytest.raises(tfopt.ArgumentError, match=r"layers of the model. Received: \['third'\]"):
        fit(compiled(), data, tfopt.PruningCallback(tfopt.ConstantSparsity({"third": 0.5})))
    model = with_class(Optimizerless)
    model.compile(loss="sparse_categorical_crossentropy")
    with pytest.raises(tfopt.PruningError, match="Received: a model without an optimizer"):
        fit(model, data, tfopt.PruningCallback(tfopt.ConstantSparsity(0.5)))


def test_a_layer_that_vanishes_is_said(data):
    model = build()
    model.get_layer("first").kernel.assign(model.get_layer("first").kernel * 1e-6)
    pruning = tfopt.PruningCallback(tfopt.ConstantSparsity(0.6), scope="global")
    with pytest.warns(UserWarning, match="every weight of first/kernel"):
        fit(compiled(model, keras.optimizers.SGD(0.0)), data, pruning, epochs=1)


class Two(keras.Model):
    """A model whose weights are not trained by the optimizer that it was compiled with."""

    def compile(self, **options):
        super().compile(**options)
        self.own = keras.optimizers.SGD(0.01)

    def train_step(self, batch):
        import tensorflow as tf

        x, y = batch
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        self.own.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


def test_an_optimizer_that_makes_no_steps_is_noticed_in_the_first_epoch(data):
    model = with_class(Two)
    model.compile(loss="sparse_categorical_crossentropy", jit_compile=False)
    watch = Zeros()
    with pytest.raises(tfopt.PruningError, match="made no step in an epoch"):
        fit(model, data, watch, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75)))
    assert len(watch.seen) == 4 and not constraints(model)
    fit(model, data, tfopt.PruningCallback(tfopt.ConstantSparsity(0.75)), epochs=2)
    assert reached(model)


@pytest.mark.parametrize("epochs", [True, False], ids=["epochs", "batches alone"])
def test_a_loop_of_ones_own(data, epochs):
    model = compiled()
    callbacks = keras.callbacks.CallbackList([tfopt.PruningCallback(tfopt.PolynomialDecay(0.75, begin=0, end=6))], model=model)
    callbacks.on_train_begin()
    for epoch in range(2):
        if epochs:
            callbacks.on_epoch_begin(epoch)
        for batch in range(4):
            callbacks.on_train_batch_begin(batch)
            model.train_on_batch(*data)
            callbacks.on_train_batch_end(batch)
        if epochs:
            callbacks.on_epoch_end(epoch, {})
    callbacks.on_train_end()
    assert reached(model) and not constraints(model)
