"""`prune_sensitivity()`: the table, the plan from it, the plot."""

import contextlib

import keras
import numpy as np
import pytest
from keras import layers

import tfopt
from tfopt.pruning import sensitivity


@pytest.fixture(scope="module")
def case():
    """A model whose layer "needed" decides everything and whose layer "spare" adds next to nothing, and data for it."""
    x = np.random.default_rng(0).normal(size=(200, 8)).astype("float32")
    source = keras.Input((8,))
    needed = layers.Dense(8, use_bias=False, name="needed")(source)
    spare = layers.Dense(8, use_bias=False, name="spare")(source)
    outputs = layers.Dense(8, use_bias=False, name="head")(layers.Add()([needed, spare]))
    model = keras.Model(source, outputs)
    rng = np.random.default_rng(1)
    model.get_layer("needed").kernel.assign(rng.normal(size=(8, 8)))
    model.get_layer("spare").kernel.assign(1e-4 * rng.normal(size=(8, 8)))
    return model, x, model.predict(x, verbose=0).argmax(axis=1)


def test_table_plan_and_plot(case):
    model, x, y = case
    before = model.get_weights()
    table = tfopt.prune_sensitivity(model, (x, y), metric="accuracy")
    assert table.baseline == 1.0 and list(table.scores) == ["needed", "spare"]  # the most sensitive first
    assert table.scores["spare"][0.9] > 0.99 > table.scores["needed"][0.5] > table.scores["needed"][0.9]
    assert table.plan(tolerance=0.01)["spare"] == 0.9 and table.plan(tolerance=0.01).get("needed", 0) < 0.5
    assert table.plan(tolerance=1.0) == {"needed": 0.9, "spare": 0.9}
    axes = table.plot()
    assert len(axes.lines) == 2 and axes.get_ylabel() == "accuracy"
    lines = str(table).splitlines()
    assert lines[0] == "accuracy with one layer pruned to a sparsity; 1.0000 without pruning"
    assert lines[1].split() == ["layer", "25", "%", "50", "%", "75", "%", "90", "%"]
    assert lines[3].split() == ["spare", *(f"{score:.4f}" for score in table.scores["spare"].values())]
    page = table._repr_html_()
    assert page.startswith(f"<div>{lines[0]}</div>") and "<th>layer</th><th>25 %</th>" in page and "<td>spare</td>" in page
    assert repr(table) == "Sensitivity(accuracy 1.0000 without pruning, 2 layers)"
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    # each figure is that of the model pruned in this layer alone
    alone = tfopt.prune(model, {"needed": 0.5})
    assert table.scores["needed"][0.5] == np.mean(alone.predict(x, verbose=0).argmax(axis=1) == y)


@pytest.mark.parametrize("verbose", [True, False])
def test_the_bar_is_asked_for_and_told_each_measurement(case, verbose, monkeypatch):
    model, x, y = case
    asked, reports = [], []

    @contextlib.contextmanager
    def bar(verbose):
        asked.append(verbose)
        yield reports.append

    monkeypatch.setattr(sensitivity, "progress_bar", bar)
    tfopt.prune_sensitivity(model, (x, y), metric="accuracy", sparsities=(0.5, 0.9), verbose=verbose)
    assert asked == [verbose]
    assert [(report["stage"], report["done"], report["total"]) for report in reports] == [
        ("prune needed", 0, 4), ("prune needed", 1, 4), ("prune spare", 2, 4), ("prune spare", 3, 4),
    ]  # fmt: skip


def test_nothing_is_drawn_in_a_pipe(case, capfd):
    model, x, y = case
    tfopt.prune_sensitivity(model, (x, y), metric="accuracy", sparsities=(0.5,))
    assert capfd.readouterr().err == ""


def test_a_metric_of_ones_own(case):
    model, x, _ = case
    target = model.predict(x, verbose=0)
    table = tfopt.prune_sensitivity(
        model, (x, target), metric=lambda y, found: -np.mean((y - found) ** 2), sparsities=[0.5], include="spare"
    )
    assert table.baseline == 0 and 0 > table.scores["spare"][0.5] > -1e-5


def test_accuracy_of_one_output_and_of_one_hot():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="a"), layers.Dense(1, activation="sigmoid")])
    x = np.random.default_rng(0).normal(size=(50, 4)).astype("float32")
    y = model.predict(x, verbose=0) > 0.5
    assert tfopt.prune_sensitivity(model, (x, y), metric="accuracy", sparsities=[0.5]).baseline == 1
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="a"), layers.Dense(3)])
    y = np.eye(3)[model.predict(x, verbose=0).argmax(axis=1)]
    assert tfopt.prune_sensitivity(model, (x, y), metric="accuracy", sparsities=[0.5]).baseline == 1


@pytest.mark.parametrize(
    "options, words",
    [
        ({"metric": "f1"}, "metric must be 'accuracy' or a function"),
        ({"metric": "accuracy", "sparsities": ()}, "sparsities must be fractions"),
        ({"metric": "accuracy", "sparsities": (0.5, 1.0)}, "sparsities must be fractions"),
        ({"metric": "accuracy", "sparsities": 0.5}, "sparsities must be fractions.*Received: 0.5"),
        ({"metric": "accuracy", "sparsities": ("half",)}, "sparsities must be fractions"),
        ({"metric": "accuracy", "include": "nix"}, "matches no layer"),
        ({"metric": lambda y, found: float("nan")}, "Received: NaN"),
    ],
    ids=["metric", "empty", "1", "one number", "words", "include", "NaN"],
)
def test_wrong_arguments(case, options, words):
    model, x, y = case
    with pytest.raises(tfopt.TfoptError, match=words):
        tfopt.prune_sensitivity(model, (x, y), **options)


def test_wrong_data(case):
    model, x, y = case
    for data, words in ((x, "must be a pair"), ((x, y[:10]), "a label for each of the 200 predictions. Received: 10 labels")):
        with pytest.raises(tfopt.DataError, match=words):
            tfopt.prune_sensitivity(model, data, metric="accuracy")
    with pytest.raises(tfopt.ArgumentError, match="tolerance must be 0 or more"):
        tfopt.Sensitivity(0.9, {"a": {0.5: 0.8}}, "accuracy").plan(tolerance=-1)
    with pytest.raises(tfopt.ArgumentError, match="the least loss is 0.1"):
        tfopt.Sensitivity(0.9, {"a": {0.5: 0.8}}, "accuracy").plan(tolerance=0.01)
