"""One program on two workers: what goes in, which files come out, and how `fit` ends."""

import csv
import json

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.slow

LABELS = np.arange(330.0) / 100.0


@pytest.fixture(scope="module")
def run(run_replicas):
    """(folder, [what each worker found])."""
    folder = run_replicas("multi_worker_long").folder / "one_program"
    return folder, [json.loads((folder / f"found.{index}.json").read_text()) for index in range(2)]


@pytest.mark.parametrize("name", ["arrays", "dataset", "PyDataset", "generator", "each its own"])
def test_each_sample_is_seen_by_one_worker(run, name):
    _, (chief, other) = run
    labels = LABELS[:256] if name == "each its own" else LABELS
    assert chief[name] == other[name]  # metrics of all workers, and the same weights
    assert chief[name]["sum"] == pytest.approx(labels.sum(), rel=1e-5)
    assert chief[name]["squares"] == pytest.approx((labels**2).sum(), rel=1e-5)


def test_nobody_writes_into_the_arrays_given(run):
    assert all(found["arrays as given"] for found in run[1])


def test_a_batch_that_leaves_nothing_for_a_worker(run):
    _, (chief, other) = run
    assert chief["tail"] == other["tail"] and chief["tail"]["finite"]
    assert np.isfinite([chief["tail"]["loss"], *chief["tail"]["evaluation"]]).all()
    assert chief["tail"]["sum"] == pytest.approx(LABELS[:65].sum(), rel=1e-5)


def test_statistics_are_averaged_before_each_save(run):
    folder, (chief, other) = run
    one, two = np.array(chief["statistics"]), np.array(other["statistics"])
    assert np.abs(one - two).max() > 1e-4  # between saves each worker follows its own part
    for epoch in (1, 2):
        for batch in (2, 4, 6):
            saved = keras.saving.load_model(folder / "worker0" / "checkpoints" / f"{epoch}.{batch}.keras", compile=False)
            step = (epoch - 1) * 6 + batch - 1
            np.testing.assert_allclose(saved.layers[0].moving_mean.numpy(), (one[step] + two[step]) / 2, atol=1e-6)
    assert chief["after"] == other["after"]


def test_the_chief_alone_writes(run):
    folder, _ = run
    assert {file.name for file in folder.iterdir()} == {"worker0", "log0.csv", "found.0.json", "found.1.json"}
    assert len(list(csv.reader((folder / "log0.csv").open()))) == 3
    wanted = {"checkpoints", "board", "saved.keras", "again.keras", "again.weights.h5", "exported", "judged.keras"}
    wanted |= {"function.keras", "function.h5", "function.weights.h5", "listed.keras"}
    assert wanted <= {file.name for file in (folder / "worker0").iterdir()}
    saved, *others = (
        keras.saving.load_model(folder / "worker0" / name, compile=False)
        for name in ("saved.keras", "again.keras", "function.keras", "function.h5", "saved.keras")
    )
    others[-1].load_weights(folder / "worker0" / "function.weights.h5")
    for again in others:
        for one, other in zip(saved.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_one_stops_all_stop(run):
    assert [found["epochs"] for found in run[1]] == [2, 2]
    assert [found["epochs with a list"] for found in run[1]] == [2, 2]


def test_all_go_on_from_what_the_chief_restored(run):
    _, (chief, other) = run
    assert (chief["backed up"], other["backed up"]) == (True, False)
    for found in (chief, other):
        assert found["went on with"] == [2, 3]
        assert found["resumed"] == found["whole"] == chief["whole"]


def test_an_optimizer_made_outside_is_refused(run):
    for found in run[1]:
        assert "made in the scope" in found["made outside"] and "Received: optimizer with SGD" in found["made outside"]
