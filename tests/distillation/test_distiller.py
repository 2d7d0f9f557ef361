"""`Distiller`: it trains the student as `fit` would and towards the teacher, which stays as it is."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from on_two_devices import require_held
from small_distillers import LOSS, X, Y, distiller, every_loss, flat, net

import tfopt

RNG = np.random.default_rng(1)


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


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"jit_compile": True}, marks=pytest.mark.slow),
        {"run_eagerly": True},
        {"steps_per_execution": 3},
    ],
)
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


@pytest.mark.slow
def test_a_saved_distillation_goes_on(tmp_path):
    made = distiller(distillation_losses=every_loss())
    made.fit(X, Y, epochs=2, verbose=0, shuffle=False)
    made.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    np.testing.assert_array_equal(flat(loaded.teacher.weights), flat(made.teacher.weights))
    for each in (made, loaded):
        each.fit(X, Y, epochs=2, verbose=0, shuffle=False)
    np.testing.assert_allclose(flat(loaded.student.weights), flat(made.student.weights), atol=1e-6)


@pytest.mark.slow
def test_an_interrupted_distillation_is_resumed(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    def run(*callbacks):
        losses = [tfopt.LogitsDistillation(), tfopt.FeatureDistillation("relu", "relu")]  # the latter has a projector
        made = distiller(distillation_losses=losses)
        made.fit(X, Y, epochs=4, verbose=0, shuffle=False, callbacks=list(callbacks))
        return flat(made.student.weights)

    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(KeyboardInterrupt):
        run(backup, Stop())
    np.testing.assert_allclose(run(keras.callbacks.BackupAndRestore(tmp_path / "backup")), run(), atol=1e-6)


@pytest.mark.parametrize("positional", [("student", "teacher"), ("student",)], ids=len)
def test_models_are_given_by_name_only(positional):
    models = {"student": net(6, "student"), "teacher": net(12, "teacher")}
    named = {name: model for name, model in models.items() if name not in positional}
    message = r"given by name: tfopt.Distiller\(student=..., teacher=...\).* Received: \d positional argument"
    with pytest.raises(tfopt.ArgumentError, match=message):
        tfopt.Distiller(*(models[name] for name in positional), **named)
    parameters = inspect.signature(tfopt.Distiller).parameters
    assert {parameters[name].kind for name in models} == {inspect.Parameter.KEYWORD_ONLY}, "also for help() and editors"


def test_two_replicas_learn_what_one_does(tmp_path_factory):
    require_held("distillation", tmp_path_factory)


@pytest.mark.parametrize("cache", [pytest.param(None, marks=pytest.mark.slow), "memory"])
def test_weights_of_samples_may_be_a_column(cache):
    weights = np.random.default_rng(5).uniform(0, 4, len(X))

    def history(sample_weight):
        made = distiller(distillation_losses=every_loss(), optimizer="sgd", cache=cache)
        return made.fit(X, Y, batch_size=32, sample_weight=sample_weight, shuffle=False, verbose=0).history

    expected = history(weights)
    assert len([name for name in expected if ("student" not in name and "dist" in name) or "attention" in name]) == 5
    for name, values in history(weights[:, None]).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-5, err_msg=name)


def test_several_weights_of_a_sample_are_refused():
    weights = np.random.default_rng(5).uniform(0, 4, (len(X), 2))
    inputs = keras.Input((8, 8, 3))
    student, teacher = (keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Reshape((2, 96))(inputs))) for _ in range(2))
    labels = np.zeros((len(X), 2), int)
    with pytest.raises(
        tfopt.ArgumentError, match=r"one `sample_weight` for each sample.*\(None, 2\).*mean\(axis=1, keepdims=True\)"
    ):
        distiller(student, teacher).fit(X, labels, sample_weight=weights, verbose=0)
    distiller(student, teacher).fit(X, labels, sample_weight=weights.mean(axis=1, keepdims=True), verbose=0)
