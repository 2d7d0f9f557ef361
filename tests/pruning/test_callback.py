"""`PruningCallback` and `PreserveSparsity` in all the ways that models are trained, and what is refused at the beginning."""

import itertools
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import tfopt


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(64, 12)).astype("float32"), rng.integers(0, 3, 64)


def build(**options):
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(16, activation="relu", name="first", **options),
            layers.Dense(16, activation="relu", name="second"),
            layers.Dense(3, activation="softmax", name="head"),
        ]
    )


def compiled(model=None, optimizer=None, **options):
    model = model or build()
    options.setdefault("jit_compile", False)  # compiling takes longer than training here
    model.compile(optimizer or keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"], **options)
    return model


def fit(model, data, *callbacks, **options):
    x, y = data
    return model.fit(x, y, **{"batch_size": 16, "epochs": 6, "verbose": 0, "shuffle": False, **options}, callbacks=list(callbacks))


def zeros(model):
    """Zeros of the kernels that are pruned by default, as fractions."""
    return [float(np.mean(layer.kernel.numpy() == 0)) for layer in model.layers if layer.name in ("first", "second")]


def reached(model, sparsity=0.75):
    return zeros(model) == pytest.approx([sparsity, sparsity])


class Zeros(keras.callbacks.Callback):
    """Notes the zeros after every step."""

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(zeros(self.model))


class OwnStep(keras.Model):
    """A model with a train_step of its own."""

    def train_step(self, batch):
        import tensorflow as tf

        x, y = batch
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


def own_step():
    model = build()
    model = OwnStep(model.inputs, model.outputs)
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    return model


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
    "train_step": own_step,
    "regularizer": lambda: compiled(build(kernel_regularizer="l2")),
}


@pytest.mark.parametrize("way", WAYS)
def test_holds(way, data):
    model = WAYS[way]()
    watch = Zeros()
    history = fit(model, data, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75)), watch)
    assert reached(model), zeros(model)
    assert history.history["sparsity"][-1] == pytest.approx(0.75)
    assert all(np.diff(history.history["sparsity"]) >= 0) and history.history["sparsity"][0] > 0
    rising = np.array(watch.seen)
    assert (np.diff(rising, axis=0) >= -1e-9).all()  # no zero is lost in any step
    assert all(variable.constraint is None for variable in model.trainable_variables)


def test_holds_under_mirrored_strategy():
    script = pathlib.Path(__file__).with_name("mirrored.py")
    finished = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert finished.stdout.split()[-1] == "held"


def test_a_model_that_was_trained_before(data):
    model = compiled()
    fit(model, data, epochs=1)  # its step is traced without masks
    fit(model, data, tfopt.PruningCallback(tfopt.ConstantSparsity(0.75)))
    assert reached(model)
    fit(model, data, epochs=1)  # and now again without
    assert sum(zeros(model)) < 0.2


def test_the_users_constraint_is_composed_and_given_back(data):
    norm = keras.constraints.MaxNorm(0.5)
    model = compiled(build(kernel_constraint=norm))
    fit(model, data, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75)))
    kernel = model.get_layer("first").kernel
    assert reached(model) and kernel.constraint is norm
    assert np.linalg.norm(kernel.numpy(), axis=0).max() <= 0.5 + 1e-5


def test_frozen_layers_are_left_and_listed(data):
    model = build()
    model.get_layer("first").trainable = False
    pruning = tfopt.PruningCallback(tfopt.PolynomialDecay(0.75))
    fit(compiled(model), data, pruning)
    assert zeros(model) == pytest.approx([0, 0.75]) and "frozen" in pruning.skipped["first/kernel"]
    fit(compiled(model), data, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75), include="first"))
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
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    pruning = tfopt.PruningCallback(tfopt.PolynomialDecay(0.5))
    fit(model, data, pruning)
    assert sorted(target.name for target in pruning.targets) == ["block/inner/kernel", "nested/deep/kernel", "shared/kernel"]
    assert "output layer" in pruning.skipped["head/kernel"]


def test_selectors(data):
    def pruned(**options):
        pruning = tfopt.PruningCallback(tfopt.ConstantSparsity(0.5), **options)
        fit(compiled(), data, pruning, epochs=1)
        return [target.layer_name for target in pruning.targets]

    assert pruned() == ["first", "second"]
    assert pruned(include="*") == ["first", "second", "head"]
    assert pruned(include=["head", "fir*"]) == ["first", "head"]
    assert pruned(include=layers.Dense, exclude=lambda layer: layer.name == "second") == ["first", "head"]
    assert pruned(exclude="second") == ["first"]
    plan = tfopt.PolynomialDecay({"second": 0.5})
    pruning = tfopt.PruningCallback(plan)
    fit(compiled(), data, pruning)
    assert [target.layer_name for target in pruning.targets] == ["second"] and "plan" in pruning.skipped["first/kernel"]
    for options in ({"include": "secund"}, {"exclude": layers.Conv2D}, {"include": lambda layer: False}):
        with pytest.raises(tfopt.ArgumentError, match="matches none"):
            pruned(**options)
    with pytest.raises(tfopt.ArgumentError, match="Closest: second"):
        pruned(include="secund")
    with pytest.raises(tfopt.ArgumentError, match="nothing|must have weights to prune"):
        pruned(exclude=layers.Dense)


def test_several_fits_never_fall_behind(data):
    model, pruning = compiled(), tfopt.PruningCallback(tfopt.PolynomialDecay(0.75))
    fit(model, data, pruning)
    history = fit(model, data, pruning)
    assert history.history["sparsity"] == pytest.approx([0.75] * 6) and reached(model)
    history = fit(model, data, tfopt.PruningCallback(tfopt.PolynomialDecay(0.875, initial_sparsity=0.75)))
    assert history.history["sparsity"][0] >= 0.75 and reached(model, 0.875)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_zeros_of_the_beginning_stay_before_the_schedule_begins(data, scope):
    model = compiled(tfopt.prune(build(), 0.75))
    watch = Zeros()
    fit(model, data, watch, tfopt.PruningCallback(tfopt.PolynomialDecay(0.875, begin=0.5, end=0.9), scope=scope))
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
    every = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    history = fit(compiled(), data, best, every, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75)))
    assert reached(keras.saving.load_model(tmp_path / "best.keras"))
    for epoch, sparsity in enumerate(history.history["sparsity"], start=1):
        assert np.mean(zeros(keras.saving.load_model(tmp_path / f"{epoch}.keras"))) == pytest.approx(sparsity, abs=0.02)


@pytest.mark.parametrize("order", ["before", "after"])
def test_interrupted_and_resumed_equals_uninterrupted(data, tmp_path, order):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3:
                raise KeyboardInterrupt

    def run(*more, model=None):
        model = compiled(model)
        pruning = tfopt.PruningCallback(tfopt.PolynomialDecay(0.75))
        fit(model, data, *([pruning, *more] if order == "before" else [*more, pruning]))
        return model

    whole = run()
    backup = keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))
    with pytest.raises(KeyboardInterrupt):
        run(backup, Interrupt())
    resumed = run(keras.callbacks.BackupAndRestore(str(tmp_path / "backup")))
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert reached(resumed)


def test_after_an_interrupt_the_next_fit_is_clean(data):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    norm = keras.constraints.MaxNorm(2.0)
    model = compiled(build(kernel_constraint=norm))
    with pytest.raises(KeyboardInterrupt):
        fit(model, data, tfopt.PruningCallback(tfopt.ConstantSparsity(0.5)), Interrupt())
    fit(model, data, tfopt.PruningCallback(tfopt.ConstantSparsity(0.75)))
    assert reached(model) and model.get_layer("first").kernel.constraint is norm


def test_validation_sees_the_sparsity(data):
    seen = []

    class Look(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            seen.append(np.mean(zeros(self.model)))

    history = fit(compiled(), data, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75)), Look(), validation_data=data)
    assert seen == pytest.approx(history.history["sparsity"], abs=0.01)


def test_logs_reach_csv_and_tensorboard(data, tmp_path):
    fit(
        compiled(),
        data,
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.TensorBoard(tmp_path / "board"),
        tfopt.PruningCallback(tfopt.PolynomialDecay(0.75)),
    )
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
        model.fit(
            batches(), epochs=1, verbose=0, steps_per_epoch=None, callbacks=[tfopt.PruningCallback(tfopt.PolynomialDecay(0.5))]
        )
    model.fit(batches(), epochs=2, steps_per_epoch=4, verbose=0, callbacks=[tfopt.PruningCallback(tfopt.PolynomialDecay(0.75))])
    assert reached(model)


def test_a_schedule_beyond_the_run_is_refused_at_the_beginning(data):
    model = compiled()
    before = model.get_weights()
    with pytest.raises(tfopt.PruningError, match="end at optimizer step 1,000, and a run of 24 steps"):
        fit(model, data, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75, end=1000)))
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert all(variable.constraint is None for variable in model.trainable_variables)


def test_a_run_that_stops_early_misses_its_sparsity(data):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    with pytest.raises(tfopt.PruningError, match=r"first/kernel \d+\.\d+% of 75.00%.*ended at optimizer step 8"):
        fit(compiled(), data, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75)), Stop())


def test_updates_past_the_optimizer_are_noticed_at_once(data):
    class Past(OwnStep):
        def train_step(self, batch):
            for variable in self.trainable_variables:
                variable.assign(variable + 0.01)
            self.optimizer.iterations.assign_add(1)
            return {"loss": 0.0}

    model = build()
    model = Past(model.inputs, model.outputs)
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    watch = Zeros()
    with pytest.raises(tfopt.PruningError, match="zeros must stay zero.*first/kernel"):
        fit(model, data, watch, tfopt.PruningCallback(tfopt.ConstantSparsity(0.5)))
    assert len(watch.seen) == 1
    assert all(variable.constraint is None for variable in model.trainable_variables)


def test_weights_that_another_callback_restores_are_masked(data):
    class Restore(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            self.model.set_weights([np.ones_like(weight) for weight in self.model.get_weights()])

    model = compiled()
    fit(model, data, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75)), Restore())
    assert reached(model)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: tfopt.PruningCallback(0.8), r"tfopt.ConstantSparsity\(0.8\)"),
        (lambda: tfopt.PruningCallback(tfopt.ConstantSparsity), r"schedule must be .*Received: schedule=<class"),
        (lambda: tfopt.PruningCallback(tfopt.ConstantSparsity(0.8), scope="model"), "scope must be"),
        (lambda: tfopt.PruningCallback(tfopt.ConstantSparsity(0.8), pattern="2:4"), "pattern must be"),
        (lambda: tfopt.PruningCallback(tfopt.ConstantSparsity(0.8), pattern=tfopt.NByM(2, 4)), "sparsity of 0.5 and no other"),
        (lambda: tfopt.PruningCallback(tfopt.ConstantSparsity(0.8), frequency=0), "frequency must be"),
        (lambda: tfopt.PruningCallback(tfopt.ConstantSparsity({"first": 0.5}), scope="global"), "scope must be 'layer'"),
    ],
    ids=["no schedule", "class", "scope", "pattern", "2:4 at 80 %", "frequency", "plan and global"],
)
def test_wrong_arguments(make, words):
    with pytest.raises(tfopt.ArgumentError, match=words):
        make()


def test_refusals_at_the_beginning(data):
    with pytest.raises(tfopt.ArgumentError, match=r"does not divide into blocks of 5 x 1"):
        fit(compiled(), data, tfopt.PruningCallback(tfopt.ConstantSparsity(0.5), pattern=tfopt.Block((5, 1)), include="first"))
    with pytest.raises(tfopt.PruningError, match="SwapEMAWeights"):
        swap = keras.callbacks.SwapEMAWeights()
        fit(compiled(optimizer=keras.optimizers.Adam(use_ema=True)), data, swap, tfopt.PruningCallback(tfopt.ConstantSparsity(0.5)))
    model = build()
    model.get_layer("first").kernel.assign(np.full((12, 16), np.nan))
    with pytest.raises(tfopt.PruningError, match="NaN or infinity in first/kernel"):
        fit(compiled(model), data, tfopt.PruningCallback(tfopt.ConstantSparsity(0.5)))
    with pytest.raises(tfopt.ArgumentError, match=r"layers of the model. Received: \['third'\]"):
        fit(compiled(), data, tfopt.PruningCallback(tfopt.ConstantSparsity({"third": 0.5})))


def test_a_layer_that_vanishes_is_said(data):
    model = build()
    model.get_layer("first").kernel.assign(model.get_layer("first").kernel * 1e-6)
    with pytest.warns(UserWarning, match="every weight of first/kernel"):
        fit(compiled(model, keras.optimizers.SGD(0.0)), data, tfopt.PruningCallback(tfopt.ConstantSparsity(0.6), scope="global"))


def test_preserve_sparsity(data):
    model = compiled(tfopt.prune(build(), 0.5, include="*"))
    before = [layer.kernel.numpy() == 0 for layer in model.layers]
    history = fit(model, data, tfopt.PreserveSparsity())
    for layer, zero in zip(model.layers, before, strict=True):
        assert not layer.kernel.numpy()[zero].any() and zero.mean() == 0.5
    assert history.history["sparsity"] == pytest.approx([0.5] * 6)
    with pytest.raises(tfopt.ArgumentError, match="must have weights with zeros to keep"):
        fit(compiled(), data, tfopt.PreserveSparsity())


def test_lora_is_left_as_it_would_fill_the_zeros_in_files(data):
    model = build()
    model.get_layer("first").enable_lora(2)
    for include in (None, "*"):
        pruning = tfopt.PruningCallback(tfopt.PolynomialDecay(0.75), include=include)
        fit(compiled(model), data, pruning)
        assert "first" not in {target.layer_name for target in pruning.targets} and "LoRA" in pruning.skipped["first/kernel"]
    assert zeros(tfopt.prune(model, 0.5)) == [0, 0.75]
    model = tfopt.prune(build(), 0.5)
    model.get_layer("first").enable_lora(2)
    with pytest.raises(tfopt.ArgumentError, match="first/kernel under LoRA"):
        fit(compiled(model), data, tfopt.PreserveSparsity())


def test_an_optimizer_that_makes_no_steps_is_noticed_in_the_first_epoch(data):
    class Two(keras.Model):
        def compile(self, **options):
            super().compile(**options)
            self.own = keras.optimizers.Adam(0.01)

        def train_step(self, batch):
            import tensorflow as tf

            x, y = batch
            with tf.GradientTape() as tape:
                loss = self.compute_loss(x, y, self(x, training=True))
            self.own.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
            return {"loss": loss}

    model = build()
    model = Two(model.inputs, model.outputs)
    model.compile(loss="sparse_categorical_crossentropy")
    watch = Zeros()
    with pytest.raises(tfopt.PruningError, match="made no step in an epoch"):
        fit(model, data, watch, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75)))
    assert len(watch.seen) == 4 and all(variable.constraint is None for variable in model.trainable_variables)
    model = Two(model.inputs, model.outputs)
    model.compile(loss="sparse_categorical_crossentropy")
    fit(model, data, tfopt.PruningCallback(tfopt.ConstantSparsity(0.75)))
    assert np.mean([layer.kernel.numpy() == 0 for layer in model.layers if layer.name == "second"]) == pytest.approx(0.75)


def test_preserve_sparsity_leaves_a_tensor_of_zeros_alone(data):
    model = build(kernel_initializer="zeros", bias_initializer="ones")
    model.get_layer("second").kernel.assign(np.eye(16))
    fit(compiled(model), data, tfopt.PreserveSparsity())
    assert zeros(model)[0] < 0.5 and zeros(model)[1] == pytest.approx(15 / 16)


def test_initial_epoch_of_a_new_optimizer(data):
    history = fit(compiled(), data, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75)), initial_epoch=4, epochs=10)
    assert 0 < history.history["sparsity"][0] < 0.5 and history.history["sparsity"][-1] == 0.75


def test_resumed_after_steps_that_the_loss_scale_left_out(data, tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3:
                raise KeyboardInterrupt

    def run(*more):
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01), initial_scale=2.0**24)
        model = compiled(build(dtype="mixed_float16"), optimizer)
        backup = keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))
        fit(model, data, tfopt.PruningCallback(tfopt.PolynomialDecay(0.75, end=0.5)), backup, *more)
        return model

    with pytest.raises(KeyboardInterrupt):
        run(Interrupt())
    assert reached(run())


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
    assert reached(model) and all(variable.constraint is None for variable in model.trainable_variables)


@pytest.mark.parametrize("first", ["pruning", "preserve"])
@pytest.mark.parametrize("include", [None, "second"], ids=["the same layers", "other layers"])
def test_pruning_and_preserving_together(data, first, include):
    norm = keras.constraints.MaxNorm(2.0)
    model = compiled(tfopt.prune(build(kernel_constraint=norm), 0.5, include=["first", "second"]))
    before = model.get_layer("first").kernel.numpy() == 0
    watch, pruning = Zeros(), tfopt.PruningCallback(tfopt.PolynomialDecay(0.75, begin=0.2), include=include)
    both = [pruning, tfopt.PreserveSparsity()] if first == "pruning" else [tfopt.PreserveSparsity(), pruning]
    history = fit(model, data, watch, *both)
    assert np.min(watch.seen) >= 0.5 and not model.get_layer("first").kernel.numpy()[before].any()
    assert zeros(model) == pytest.approx([0.5 if include else 0.75, 0.75]) and history.history["sparsity"][-1] == 0.75
    constraint = model.get_layer("first").kernel.constraint
    assert isinstance(constraint, keras.constraints.MaxNorm) and model.get_layer("second").kernel.constraint is None


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
    assert all(variable.constraint is None for variable in model.trainable_variables)


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
