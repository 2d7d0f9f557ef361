"""Outputs of every kind, judged by parts: a fault in one part is found, and a healthy output raises no alarm."""

import math

import keras
import numpy as np
import pytest
from fake_files import FakeFile

import tfopt
from tfopt.checking.output_errors import Tally
from tfopt.checking.settings import CheckSettings

SEEDS = range(50)
ROWS = 120


def rounded(values, step):
    """Values on the 256 levels of an int8 tensor, as far as they reach."""
    return np.round(values / step) * step


def step_of(values):
    return float(values.max() - values.min()) / 255


def healthy_noise(values, generator):
    """What the layers of an int8 file leave: 25 to 30 dB below the variation of each channel."""
    return values + generator.normal(size=values.shape) * values.std(axis=0) / generator.uniform(18, 32)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def classes(generator):
    """Ten classes; the last one never occurs in the data."""
    logits = 3 * generator.normal(size=(ROWS, 10))
    logits[:, 9] -= 30
    wanted, found = softmax(logits), softmax(healthy_noise(logits, generator))
    faulty = found.copy()
    faulty[:, generator.integers(9)] = 0
    return wanted, rounded(found, 1 / 256), rounded(faulty, 1 / 256), {"scale": 1 / 256, "writer": "SOFTMAX"}


def boxes_and_scores(generator):
    """Boxes in pixels of 320 and three scores in one tensor. The healthy file has scores in hundredths of the boxes' range."""
    boxes = generator.uniform(0, 320, (ROWS, 4))
    scores = generator.uniform(0, 1, (ROWS, 3))
    wanted, step = np.concatenate([boxes, 320 * scores], axis=1), 320 / 255
    found = healthy_noise(wanted, generator)
    faulty = found.copy()
    faulty[:, 4:] = rounded(faulty[:, 4:] / 320, step)
    shrunk = np.concatenate([boxes, scores], axis=1)
    return (wanted, shrunk), rounded(found, step), rounded(faulty, step), {"scale": step, "writer": "ADD", "joined": (4, 3)}


def argmax(generator):
    wanted = generator.integers(0, 8, (ROWS,)).astype(float)
    found = np.where(generator.random(ROWS) < 0.03, generator.integers(0, 8, ROWS), wanted)
    faulty = np.where(found == wanted[0], (wanted[0] + 1) % 8, found)
    return wanted, found, faulty, {"dtype": "int64"}


def segmentation(generator):
    """Twelve by twelve pixels of four classes."""
    logits = 2 * generator.normal(size=(ROWS // 4, 12, 12, 4))
    wanted, found = softmax(logits), softmax(healthy_noise(logits, generator))
    faulty = found.copy()
    faulty[..., generator.integers(4)] = generator.random(faulty.shape[:-1])
    return wanted, rounded(found, 1 / 256), rounded(faulty, 1 / 256), {"scale": 1 / 256, "writer": "SOFTMAX"}


def segmentation_ids(generator):
    wanted = generator.integers(0, 12, (ROWS // 4, 12, 12)).astype(float)
    found = np.where(generator.random(wanted.shape) < 0.04, (wanted + 1) % 12, wanted)
    return wanted, found, np.where(found == 3, 0.0, found), {"dtype": "int32"}


def regression(generator):
    """Four units; the fault is one that the scale of the others takes most levels of."""
    spread = np.array([1.0, 0.5, 0.4, 0.3])[generator.permutation(4)] * 100
    wanted = spread * generator.normal(size=(ROWS, 4))
    small = int(spread.argmin())
    shrunk = wanted.copy()
    shrunk[:, small] /= 30 * generator.uniform(8, 20)
    step = step_of(wanted)
    found = healthy_noise(wanted, generator)
    faulty = healthy_noise(shrunk, generator)
    return (wanted, shrunk), rounded(found, step), rounded(faulty, step), {"scale": step, "writer": "FULLY_CONNECTED"}


def embeddings(generator):
    """64 coordinates, three of which a ReLU has silenced but for a few samples."""
    wanted = generator.normal(size=(ROWS, 64))
    silent = generator.permutation(64)[:3]
    wanted[:, silent] = np.maximum(0, 0.01 * (wanted[:, silent] - 2))
    step = step_of(wanted)
    found = healthy_noise(wanted, generator)
    faulty = found.copy()
    place = next(each for each in generator.permutation(64) if each not in silent)
    faulty[:, place] = found[generator.permutation(ROWS), place]
    return wanted, rounded(found, step), rounded(faulty, step), {"scale": step, "writer": "FULLY_CONNECTED"}


KINDS = [classes, boxes_and_scores, argmax, segmentation, segmentation_ids, regression, embeddings]


def judged(found, wanted, kind, batch=10):
    """(numbers, reasons, notes) of an output."""
    rows = iter(np.split(found, range(batch, len(found), batch)))
    file = FakeFile({"x": (batch, 1)}, {"y": (batch, *found.shape[1:])}, lambda arrays: [next(rows)], **kind)
    tally = Tally(file, compared=True)
    for part in np.split(wanted, range(batch, len(wanted), batch)):
        tally.add({}, lambda arrays, part=part: [part], [None] * len(part))
    (numbers,) = tally.numbers()
    return numbers, list(tally.reasons((numbers,), CheckSettings())), list(tally.notes())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_faults_of_one_part_are_found_and_healthy_twins_pass(kind):
    missed, alarms = [], []
    for seed in SEEDS:
        wanted, found, faulty, file = kind(np.random.default_rng(seed))
        good, bad = wanted if isinstance(wanted, tuple) else (wanted, wanted)
        _, reasons, _ = judged(found, good, file)
        if reasons:
            alarms.append((seed, reasons))
        numbers, reasons, _ = judged(faulty, bad, file)
        if not reasons:
            missed.append((seed, numbers.worst_part))
    assert not missed and not alarms


def test_the_worst_part_is_told_and_how_far_the_scales_are_apart():
    (_, wanted), _, faulty, file = boxes_and_scores(np.random.default_rng(0))
    numbers, reasons, notes = judged(faulty, wanted, file)
    assert numbers.sqnr > 25, "the whole output looks well"
    assert numbers.worst_part.lost and numbers.worst_part.variation_sqnr < 6
    assert numbers.worst_part.name in ("part 2 of 2", "channel 4", "channel 5", "channel 6")
    (reason,) = reasons
    assert numbers.worst_part.name in reason and "is lost" in reason
    (note,) = notes
    assert "part 2 of 2 reaches 1 and part 1 of 2 319" in note and "split_outputs=True" in note and "of 256 levels" in note


def test_channels_of_one_layer_that_need_other_scales():
    (_, wanted), _, faulty, file = regression(np.random.default_rng(1))
    _, _, (note,) = judged(faulty, wanted, file)
    assert "channel" in note and "outputs of the Keras model" in note


def test_integers_are_judged_by_agreement_alone():
    wanted = np.arange(60.0) % 5
    found = wanted.copy()
    found[:12] = 900
    numbers, (reason,), _ = judged(found, wanted, {"dtype": "int32"})
    assert numbers.sqnr is numbers.variation_sqnr is numbers.cosine is None and numbers.agreement == 0.8
    assert reason == "80.0 % of the integers of output 'y' are those of the reference; at least 90 % are required"
    assert judged(wanted, wanted, {"dtype": "bool"})[0].agreement == 1


def test_few_samples_and_single_parts_have_no_worst_part():
    values = np.random.default_rng(0).normal(size=(9, 3))
    assert judged(values, values, {})[0].worst_part is None
    values = np.random.default_rng(0).normal(size=(30, 1))
    assert judged(values, values, {})[0].worst_part is None
    values = np.random.default_rng(0).normal(size=(30, 3))
    assert judged(values, values, {})[0].worst_part.variation_sqnr == math.inf


L = keras.layers


def model_of(kind):
    """A model with an output of each kind, and its data."""
    keras.utils.set_random_seed(0)
    source = keras.Input((12, 12, 3), name="image")
    features = L.Conv2D(16, 3, padding="same", activation="relu", name="features")(source)
    pooled = L.Dense(32, activation="relu")(L.Flatten()(L.AveragePooling2D(3)(features)))
    output = {
        "classes": lambda: L.Dense(10, activation="softmax", name="y")(pooled),
        "boxes and scores": lambda: L.Concatenate(name="y")(
            [L.Rescaling(320.0)(L.Dense(4, activation="sigmoid")(pooled)), L.Dense(3, activation="sigmoid")(pooled)]
        ),
        "argmax": lambda: keras.ops.argmax(20 * L.Dense(5)(pooled), axis=-1),
        "segmentation": lambda: L.Softmax(name="y")(L.Conv2D(4, 1)(features)),
        "four units": lambda: L.Dense(4, name="y")(pooled),
        "embeddings": lambda: L.Dense(64, name="y")(pooled),
    }[kind]()
    data = np.random.default_rng(0).normal(size=(60, 12, 12, 3)).astype("float32")
    return keras.Model(source, output), data


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classes", "boxes and scores", "argmax", "segmentation", "four units", "embeddings"])
def test_conversions_of_every_kind(kind):
    model, data = model_of(kind)
    check = tfopt.convert(model, representative_data=data, runs=1, verbose=False).check
    if kind == "boxes and scores":
        assert not check.passed and any("of output" in reason and "is lost" in reason for reason in check.reasons)
        assert any("split_outputs=True" in note for note in check.notes)
    else:
        assert check.passed and not any("share" in note for note in check.notes), (check.reasons, check.notes)
    assert (check.outputs[0].sqnr is None) == (kind == "argmax")
