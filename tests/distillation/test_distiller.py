"""`Distiller`: it trains the student as `fit` would and towards the teacher, which stays as it is."""

import inspect
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tfopt

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 8, 8, 3)).astype("float32")
Y = RNG.integers(0, 4, 96)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def net(channels, name, activation=None, classes=4):
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(channels, 3, padding="same", strides=2, use_bias=False, name="conv")(image)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(classes, activation=activation, name="class")(x), name=name)


@keras.saving.register_keras_serializable("tests.distillation")
class Subclassed(keras.Model):
    def __init__(self, channels=6, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels
        self.conv = layers.Conv2D(channels, 3, strides=2, activation="relu", name="conv")
        self.head = keras.Sequential([layers.GlobalAveragePooling2D(), layers.Dense(4, name="class")], name="head")

    def call(self, x):
        return self.head(self.conv(x))

    def get_config(self):
        return {**super().get_config(), "channels": self.channels}


def flat(variables):
    return np.concatenate([variable.numpy().ravel() for variable in variables])


def distiller(student=None, teacher=None, seed=0, optimizer="adam", **options):
    """A distiller of small nets, compiled without XLA, which takes seconds to compile."""
    keras.utils.set_random_seed(seed)
    teacher = net(12, "teacher") if teacher is None else teacher
    made = tfopt.Distiller(student=net(6, "student") if student is None else student, teacher=teacher, **options)
    made.compile(optimizer, LOSS, metrics=["accuracy"], jit_compile=False)
    if made.built:
        made.optimizer.build(made.trainable_variables)  # otherwise the first step does, and TensorFlow traces the step twice
    return made


def test_without_the_teacher_it_is_plain_training_to_the_bit():
    keras.utils.set_random_seed(1)
    plain = net(6, "student")
    copy = keras.models.clone_model(plain)
    copy.set_weights(plain.get_weights())
    made = tfopt.Distiller(student=copy, teacher=net(12, "teacher"), student_loss_weight=1)
    logs = []
    for model in (plain, made):
        model.compile("adam", LOSS, metrics=["accuracy"], jit_compile=False)
        keras.utils.set_random_seed(2)
        logs.append(model.fit(X, Y, epochs=3, batch_size=32, verbose=0, class_weight={0: 2.0, 1: 1.0, 2: 1.0, 3: 0.5}).history)
    np.testing.assert_array_equal(flat(plain.weights), flat(copy.weights))
    assert logs[0]["loss"] == logs[1]["loss"] == logs[1]["student_loss"]
    assert set(logs[1]) == {"accuracy", "loss", "student_loss"}


def test_evaluate_and_predict_are_those_of_the_student():
    made = distiller()
    history = made.fit(X, Y, epochs=2, verbose=0, validation_data=(X, Y)).history
    assert set(history) == {"accuracy", "loss", "student_loss", "logits_distillation", "val_accuracy", "val_loss"}
    made.student.compile(loss=LOSS, metrics=["accuracy"], jit_compile=False)
    assert made.evaluate(X, Y, verbose=0, return_dict=True) == made.student.evaluate(X, Y, verbose=0, return_dict=True)
    np.testing.assert_array_equal(made.predict(X, verbose=0), made.student.predict(X, verbose=0))
    assert [weight.path for weight in made.trainable_weights] == [weight.path for weight in made.student.trainable_weights]


def test_the_teacher_stays_as_it_is_and_may_train_on():
    teacher = net(12, "teacher")
    before = flat(teacher.weights)
    teacher.get_layer("conv").trainable = False
    made = distiller(teacher=teacher, distillation_losses=tfopt.FeatureDistillation("relu", "relu"))
    made.fit(X, Y, epochs=1, verbose=0)
    np.testing.assert_array_equal(flat(teacher.weights), before)
    assert teacher.trainable and not teacher.get_layer("conv").trainable
    assert all("call" not in vars(layer) for model in (teacher, made.student) for layer in model.layers)


def test_the_gradient_is_that_of_the_formula():
    made = distiller(
        student_loss_weight=0.3, distillation_losses=tfopt.LogitsDistillation(2.0), optimizer=keras.optimizers.SGD(1.0)
    )
    student, teacher, weights = made.student, made.teacher, RNG.uniform(0, 2, len(X)).astype("float32")
    before = [variable.numpy() for variable in student.trainable_variables]
    with tf.GradientTape() as tape:
        outputs = student(X, training=True)
        own = tf.reduce_mean(keras.ops.sparse_categorical_crossentropy(Y, outputs, from_logits=True) * weights)
        p = tf.nn.softmax(teacher(X) / 2)
        divergence = tf.reduce_sum(p * (tf.math.log(p) - tf.nn.log_softmax(outputs / 2)), -1)
        loss = 0.3 * own + 0.7 * 4 * tf.reduce_mean(divergence * weights)
    expected = tape.gradient(loss, [variable.value for variable in student.trainable_variables])
    logs = made.fit(X, Y, batch_size=len(X), sample_weight=weights, verbose=0).history
    assert logs["loss"][0] == pytest.approx(float(loss), rel=1e-5)
    for variable, old, gradient in zip(student.trainable_variables, before, expected, strict=True):
        np.testing.assert_allclose(old - variable.numpy(), gradient, atol=2e-6)


def every_loss():
    return [
        tfopt.LogitsDistillation(), tfopt.DecoupledDistillation(), tfopt.FeatureDistillation("relu", "relu"),
        tfopt.AttentionTransfer("relu", "relu"), tfopt.RelationalDistillation(student_layer="pool", teacher_layer="pool"),
    ]  # fmt: skip


def train_with(cache):
    """(history, weights of the student) after a fit with every loss."""
    made = distiller(distillation_losses=every_loss(), cache=cache)
    keras.utils.set_random_seed(3)
    history = made.fit(X, Y, epochs=2, verbose=0, validation_split=0.25, class_weight={0: 2.0, 1: 1.0, 2: 1.0, 3: 1.0}).history
    return history, flat(made.student.weights)


@pytest.fixture(scope="module")
def without_cache():
    return train_with(None)


@pytest.mark.parametrize("place", ["memory", "folder"])
def test_a_cache_changes_nothing_but_the_work(place, tmp_path, monkeypatch, without_cache):
    history, weights = train_with("memory" if place == "memory" else tmp_path / "taught")
    for name, values in without_cache[0].items():
        np.testing.assert_allclose(history[name], values, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(weights, without_cache[1], atol=1e-5)
    if place == "folder":
        (kept,) = (tmp_path / "taught").iterdir()
        assert {file.name for file in kept.iterdir()} == {"output_0.npy", "feature_0.npy", "feature_1.npy"}
        monkeypatch.setattr("tfopt.distillation.cache._ask", lambda *_: pytest.fail("the teacher is asked again"))
        again = distiller(distillation_losses=every_loss(), cache=tmp_path / "taught")
        again.fit(X[:72], Y[:72], epochs=1, verbose=0)


def test_a_cache_is_that_of_these_data_and_this_teacher(tmp_path):
    made = distiller(cache=tmp_path)
    made.fit(X[:32], Y[:32], verbose=0)
    made.fit(X[32:64], Y[32:64], verbose=0)
    made.teacher.get_layer("class").bias.assign([1, 0, 0, 0])
    made.fit(X[:32], Y[:32], verbose=0)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("options", [{"jit_compile": True}, {"run_eagerly": True}, {"steps_per_execution": 3}])
def test_ways_to_compile(options):
    made = distiller(distillation_losses=every_loss())
    made.compile("adam", LOSS, **{"jit_compile": False, **options})
    history = made.fit(X, Y, epochs=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0]


@pytest.mark.parametrize(
    ("student", "teacher", "pair"),
    [
        (lambda: Subclassed(), lambda: net(12, "teacher"), ("conv", "relu")),
        (lambda: net(6, "student"), lambda: Subclassed(12), ("relu", "conv")),
        (
            lambda: keras.Sequential([keras.Input((8, 8, 3)), net(6, "inner"), layers.Dense(4)]),
            lambda: keras.Sequential([layers.Conv2D(9, 3, name="conv"), layers.Flatten(), layers.Dense(4)]),
            ("inner/relu", "conv"),
        ),
    ],
    ids=["subclassed student", "subclassed teacher", "nested, not built"],
)
def test_any_kinds_of_model(student, teacher, pair, tmp_path):
    losses = [tfopt.LogitsDistillation(), tfopt.FeatureDistillation(*pair)]
    made = distiller(student(), teacher(), distillation_losses=losses)
    history = made.fit(X, Y, epochs=3, verbose=0).history
    assert history["feature_distillation"][-1] < history["feature_distillation"][0]
    made.student.save(tmp_path / "student.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "student.keras")(X), made.student(X), atol=1e-6)


def test_several_inputs_and_outputs():
    def build(units):
        a, b = keras.Input((5,), name="a"), keras.Input((3,), name="b")
        x = layers.Dense(units, activation="relu")(layers.Concatenate()([a, b]))
        return keras.Model({"a": a, "b": b}, {"class": layers.Dense(4)(x), "size": layers.Dense(1)(x)})

    losses = tfopt.LogitsDistillation(kind="mse")
    made = tfopt.Distiller(student=build(4), teacher=build(9), distillation_losses=losses, cache="memory")
    made.compile("adam", {"class": LOSS, "size": "mse"}, jit_compile=False)
    x = {"a": RNG.normal(size=(40, 5)), "b": RNG.normal(size=(40, 3))}
    y = {"class": RNG.integers(0, 4, 40), "size": RNG.normal(size=(40, 1))}
    history = made.fit(x, y, epochs=8, verbose=0).history
    assert history["logits_distillation"][-1] < history["logits_distillation"][0]


def test_no_labels_are_needed_for_the_teacher_alone():
    made = tfopt.Distiller(student=net(6, "student"), teacher=net(12, "teacher"), student_loss_weight=0)
    made.compile("adam", jit_compile=False)
    history = made.fit(X, epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    dataset = tf.data.Dataset.from_tensor_slices(X).batch(32)
    made.fit(dataset, verbose=0)


def test_a_saved_distillation_goes_on(tmp_path):
    made = distiller(distillation_losses=every_loss())
    made.fit(X, Y, epochs=2, verbose=0, shuffle=False)
    made.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    np.testing.assert_array_equal(flat(loaded.teacher.weights), flat(made.teacher.weights))
    for each in (made, loaded):
        each.fit(X, Y, epochs=2, verbose=0, shuffle=False)
    np.testing.assert_allclose(flat(loaded.student.weights), flat(made.student.weights), atol=1e-6)


def test_an_interrupted_distillation_is_resumed(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    def run(*callbacks):
        made = distiller(distillation_losses=every_loss())
        made.fit(X, Y, epochs=4, verbose=0, shuffle=False, callbacks=list(callbacks))
        return flat(made.student.weights)

    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(KeyboardInterrupt):
        run(backup, Stop())
    np.testing.assert_allclose(run(keras.callbacks.BackupAndRestore(tmp_path / "backup")), run(), atol=1e-6)


def nan_teacher():
    teacher = net(12, "teacher")
    teacher.get_layer("class").bias.assign([np.nan, 0, 0, 0])
    return teacher


DATASET = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
REFUSALS = [
    ("with the same classes", {"teacher": lambda: net(12, "teacher", classes=7)}),
    ("Received: 'rellu'. Closest: relu", {"distillation_losses": [tfopt.FeatureDistillation("rellu", "relu")]}),
    ("must have a name of its own", {"distillation_losses": [tfopt.LogitsDistillation()] * 2}),
    ("of at least 0 for each of 1 losses", {"distillation_loss_weights": [1.0, 2.0]}),
    ("from 0 to 1. Received: 1.5", {"student_loss_weight": 1.5}),
    ("Received: 'kl'", {"distillation_losses": "kl"}),
    ("`teacher` must be a Keras 3 model. Received: str", {"teacher": lambda: "teacher.keras"}),
    ("same inputs", {"teacher": lambda: keras.Sequential([keras.Input((9,)), layers.Dense(4)])}),
    ("decoupled_distillation needs labels", {"y": None, "distillation_losses": tfopt.DecoupledDistillation()}),
    ("A cache needs arrays.*BatchDataset", {"x": DATASET, "y": None, "cache": "memory"}),
    ("from_logits=False needs probabilities", {"distillation_losses": tfopt.LogitsDistillation(from_logits=False)}),
    ("`cache` must be None, 'memory' or the path of a folder. Received: 3", {"cache": 3}),
    ("NaN or infinity in its weight 'class/bias'", {"teacher": nan_teacher}),
    ("at least one sample", {"x": X[:0], "y": Y[:0]}),
]


@pytest.mark.parametrize(("message", "options"), REFUSALS)
def test_refusals(message, options):
    options = dict(options)
    x, y = options.pop("x", X), options.pop("y", Y)
    teacher = options.pop("teacher", lambda: net(12, "teacher"))()
    kind = tfopt.DataError if message.startswith(("NaN", "at least")) else tfopt.ArgumentError
    with pytest.raises(kind, match=message):
        distiller(teacher=teacher, **options).fit(x, y, verbose=0)


@pytest.mark.parametrize("positional", [("student", "teacher"), ("student",)], ids=len)
def test_models_are_given_by_name_only(positional):
    models = {"student": net(6, "student"), "teacher": net(12, "teacher")}
    named = {name: model for name, model in models.items() if name not in positional}
    message = r"given by name: tfopt.Distiller\(student=..., teacher=...\).* Received: \d positional argument"
    with pytest.raises(tfopt.ArgumentError, match=message):
        tfopt.Distiller(*(models[name] for name in positional), **named)
    parameters = inspect.signature(tfopt.Distiller).parameters
    assert {parameters[name].kind for name in models} == {inspect.Parameter.KEYWORD_ONLY}, "also for help() and editors"


def test_probabilities_taken_for_logits_are_noticed():
    made = distiller(teacher=net(12, "teacher", "softmax"))
    with pytest.warns(UserWarning, match="give it from_logits=False"):
        made.fit(X, Y, verbose=0)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(tfopt.OutputError, match="`cache` must be a folder"):
        distiller(cache=tmp_path / "file").fit(X, Y, verbose=0)


def test_two_replicas_learn_what_one_does():
    script = pathlib.Path(__file__).with_name("mirrored.py")
    finished = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert finished.returncode == 0 and "held" in finished.stdout, finished.stderr[-3000:]
