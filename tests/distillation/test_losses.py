"""Each distillation loss and its gradient, against closed forms in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt

RNG = np.random.default_rng(0)
BATCH, CLASSES = 6, 5
LOGITS = [RNG.normal(size=(BATCH, CLASSES)) * 3 for _ in range(2)]
LABELS = RNG.integers(0, CLASSES, BATCH)
MAPS = RNG.normal(size=(BATCH, 4, 4, 3)), RNG.normal(size=(BATCH, 4, 4, 3))
WEIGHTS = RNG.uniform(0, 2, BATCH)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def divergence(p, q):
    return (p * np.log(p / q)).sum(-1)


def kl(student, teacher, weights, temperature=2.0):
    values = temperature**2 * divergence(softmax(teacher / temperature), softmax(student / temperature))
    return (values * weights).mean()


def binary_kl(student, teacher, weights, temperature=2.0):
    p, q = sigmoid(teacher / temperature), sigmoid(student / temperature)
    values = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    return (temperature**2 * values.mean(-1) * weights).mean()


def mse(student, teacher, weights):
    return (((student - teacher) ** 2).mean(-1) * weights).mean()


def decoupled(student, teacher, weights, alpha=1.5, beta=4.0, temperature=2.0):
    values = []
    for s, t, label in zip(softmax(student / temperature), softmax(teacher / temperature), LABELS, strict=True):
        pairs = [np.array([p[label], 1 - p[label]]) for p in (t, s)]
        others = [np.delete(p, label) / (1 - p[label]) for p in (t, s)]
        values.append(alpha * divergence(*pairs) + beta * divergence(*others))
    return (temperature**2 * np.array(values) * weights).mean()


def features(student, teacher, weights):
    return (((student - teacher) ** 2).mean((1, 2, 3)) * weights).mean()


def attention(student, teacher, weights):
    maps = [(x**2).mean(-1).reshape(len(x), -1) for x in (student, teacher)]
    maps = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in maps]
    return (((maps[0] - maps[1]) ** 2).sum(-1) * weights).mean()


def huber(x):
    return np.where(np.abs(x) <= 1, x**2 / 2, np.abs(x) - 0.5)


def relations(student, teacher, weights, distance=2.0, angle=3.0):
    total, count = 0.0, len(student)
    pairs = weights[:, None] * weights[None]
    found = []
    for x in (student, teacher):
        d = np.array([[np.linalg.norm(a - b) for b in x] for a in x])
        found.append(d / ((d * pairs).sum() / (pairs * (d > 0)).sum()))
    total += distance * (pairs * huber(found[1] - found[0])).mean()
    for i in range(count):
        for j in range(count):
            for k in range(count):
                cosines = []
                for x in (student, teacher):
                    units = [(x[m] - x[i]) / max(np.linalg.norm(x[m] - x[i]), 1e-6) for m in (j, k)]
                    cosines.append(units[0] @ units[1])
                total += angle * weights[i] * weights[j] * weights[k] * huber(cosines[1] - cosines[0]) / count**3
    return total


CASES = {
    "kl": (tfopt.LogitsDistillation(2.0), kl, LOGITS),
    "binary_kl": (tfopt.LogitsDistillation(2.0, "binary_kl"), binary_kl, LOGITS),
    "mse": (tfopt.LogitsDistillation(kind="mse"), mse, LOGITS),
    "decoupled": (tfopt.DecoupledDistillation(1.5, 4.0, 2.0), decoupled, LOGITS),
    "features": (tfopt.FeatureDistillation("a", "b"), features, MAPS),
    "attention": (tfopt.AttentionTransfer("a", "b"), attention, MAPS),
    "relations": (tfopt.RelationalDistillation(2.0, 3.0), relations, LOGITS),
}


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_equal_the_closed_form(name):
    loss, reference, (student, teacher) = CASES[name]
    loss = type(loss).from_config(loss.get_config())
    loss.build(student.shape, teacher.shape)
    x = tf.constant(student, "float32")
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x, tf.constant(teacher, "float32"), tf.constant(LABELS), tf.constant(WEIGHTS, "float32"))
    assert float(value) == pytest.approx(reference(student, teacher, WEIGHTS), rel=1e-4)
    gradient = tape.gradient(value, x).numpy()
    direction = RNG.normal(size=student.shape)
    step = 1e-5
    ends = [reference(student + sign * step * direction, teacher, WEIGHTS) for sign in (1, -1)]
    assert (gradient * direction).sum() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=2e-3, abs=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_lost_on_a_student_that_equals_its_teacher(name):
    loss, _, (student, _) = CASES[name]
    same = tf.constant(student, "float32")
    assert float(loss(same, same, tf.constant(LABELS))) == pytest.approx(0, abs=1e-5)


def test_a_sample_of_weight_zero_does_not_count():
    for name, (loss, _, (student, teacher)) in CASES.items():
        weights = np.ones(BATCH, "float32")
        weights[2] = 0
        changed = student.copy()
        changed[2] += 1
        values = [
            float(loss(tf.constant(each, "float32"), tf.constant(teacher, "float32"), tf.constant(LABELS), tf.constant(weights)))
            for each in (student, changed)
        ]
        assert values[0] == pytest.approx(values[1], rel=1e-6), name


def test_probabilities_are_told_apart_from_logits():
    student, teacher = (tf.constant(each, "float32") for each in LOGITS)
    for loss in (tfopt.LogitsDistillation(4.0), tfopt.DecoupledDistillation()):
        other = type(loss).from_config({**loss.get_config(), "from_logits": False})
        expected = loss(student, teacher, tf.constant(LABELS))
        found = other(tf.nn.softmax(student), tf.nn.softmax(teacher), tf.constant(LABELS))
        assert float(found) == pytest.approx(float(expected), rel=1e-4)
    expected = tfopt.LogitsDistillation(4.0, "binary_kl")(student, teacher)
    found = tfopt.LogitsDistillation(4.0, "binary_kl", from_logits=False)(tf.sigmoid(student), tf.sigmoid(teacher))
    assert float(found) == pytest.approx(float(expected), rel=1e-4)


def test_one_hot_labels_are_labels():
    student, teacher = (tf.constant(each, "float32") for each in LOGITS)
    loss = tfopt.DecoupledDistillation()
    expected = float(loss(student, teacher, tf.constant(LABELS)))
    for labels in (tf.one_hot(LABELS, CLASSES), tf.constant(LABELS[:, None])):
        assert float(loss(student, teacher, labels)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ((2, 8, 8, 3), (2, 4, 4, 5)),
        ((2, 3, 3, 3), (2, 6, 6, 5)),
        ((2, 6, 3), (2, 4, 5)),
        ((2, 4, 4, 3), (2, 5)),
        ((2, 3), (2, 4, 5)),
    ],
)
def test_features_of_other_sizes_are_brought_together(student, teacher):
    loss = tfopt.FeatureDistillation("a", "b")
    loss.build(student, teacher)
    assert [layer.units for layer in loss.layers] == [5]
    value = loss(tf.constant(RNG.normal(size=student), "float32"), tf.ones(teacher))
    assert value.shape == () and float(value) > 0


def test_a_projector_of_ones_own_and_its_config():
    loss = tfopt.FeatureDistillation("a", "b", keras.layers.Dense(5, activation="relu", name="mine"))
    again = tfopt.FeatureDistillation.from_config(loss.get_config())
    assert again.layers[0].name == "mine" and again.layers[0].units == 5
    again.build((2, 3), (2, 5))
    with pytest.raises(tfopt.ArgumentError, match="as many channels as the teacher's layer has, 5. Received: 3 from the student"):
        tfopt.FeatureDistillation("a", "b", None).build((2, 3), (2, 5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tfopt.LogitsDistillation(0), "`temperature` must be a number above 0. Received: temperature=0"),
        (lambda: tfopt.LogitsDistillation(kind="cosine"), "Received: kind='cosine'"),
        (lambda: tfopt.DecoupledDistillation(alpha=-1), "`alpha` must be a number of at least 0"),
        (lambda: tfopt.FeatureDistillation("a", "b", "dense"), "`projector` must be 'auto', None or a Keras layer"),
        (lambda: tfopt.RelationalDistillation(student_layer="a"), "must both be given, or neither"),
        (lambda: tfopt.LogitsDistillation().build((None, 10), (None, 100)), r"same classes.*\(None, 10\).*\(None, 100\)"),
        (lambda: tfopt.AttentionTransfer("a", "b").build((None, 10), (None, 10)), "features with positions"),
        (lambda: tfopt.FeatureDistillation("a", "b").build((2, 4, 4, 4, 3), (2, 2, 2, 2, 3)), "Name other layers"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(tfopt.ArgumentError, match=message):
        make()
