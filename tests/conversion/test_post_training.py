"""`ptq="best"` gains where channels differ, and never returns what is worse than the default on held-out samples."""

import re

import numpy as np
import pytest
import small_models

import tfopt
from tfopt.conversion import export, post_training, structure


def both(model, samples, **options):
    """(bytes of default, bytes of best, notes)."""
    traced = small_models.trace(model, options.pop("batch_size", 1))
    default = export.to_tflite(traced, "int8", samples=samples, **options)
    return default, *export.to_chosen_tflite(traced, "int8", ptq="best", samples=samples, **options)


def held_out(data, count):
    """The samples that `best` holds out, as it draws them."""
    chosen = np.random.default_rng(0).permutation(count)[: count // 4]
    return {name: array[chosen] for name, array in data.items()}


def test_hard_case_gains_on_unseen_data():
    model, data = small_models.hard_case()
    default, best, notes = both(model, small_models.rows(data, 0, 80))
    unseen = data["image"][80:]
    wanted = small_models.predict(model, unseen)
    before, after = (small_models.sqnr(wanted, tfopt.Interpreter(file).run(unseen))[0] for file in (default, best))
    assert after >= before + 6, (before, after)
    found = structure.examine(tfopt.Interpreter(best), quantization="int8")
    assert not found.float_ops and found.partitions == 1
    assert {tensor.dtype for tensor in (*found.inputs, *found.outputs)} == {"int8"}
    assert tfopt.Interpreter(best).input_names == ["image"] and tfopt.Interpreter(best).output_names == ["score"]
    (note,) = notes
    assert re.match(r"ptq best: .*channels equalized.*: [\d.]+ dB against [\d.]+ dB of default on 20 held-out samples", note)


@pytest.mark.parametrize("builder", small_models.SMALL, ids=lambda builder: builder.__name__)
def test_never_worse_on_held_out_samples(builder):
    model, data = builder()
    default, best, notes = both(model, small_models.rows(data, 0, 60))
    held = held_out(data, 60)
    wanted = small_models.predict(model, held)
    before, after = (small_models.sqnr(wanted, tfopt.Interpreter(file).run(held)) for file in (default, best))
    assert all(other >= one - 0.01 for one, other in zip(before, after, strict=True)), notes
    assert (best == default) == notes[0].endswith("default kept")


def test_classifier(classifier, digits):
    (images, _), (test, _) = digits
    default, best, notes = both(classifier, {"image": images[:80]})
    wanted = small_models.predict(classifier, held_out({"image": images}, 80))
    held = held_out({"image": images}, 80)
    before, after = (small_models.sqnr(wanted, tfopt.Interpreter(file).run(held))[0] for file in (default, best))
    assert after >= before - 0.01, notes


def test_a_batch_and_float_ends():
    model, data = small_models.hard_case()
    _, best, notes = both(model, small_models.rows(data, 0, 42), batch_size=4, io="float32")
    run = tfopt.Interpreter(best)
    assert run.batch_size == 4 and "default kept" not in notes[0]
    assert {tensor.dtype for tensor in run.graph.tensors if tensor.role in ("input", "output")} == {"float32"}


def test_too_few_samples():
    model, data = small_models.perceptron()
    default, best, notes = both(model, small_models.rows(data, 0, 7))
    assert best == default
    assert notes == ("ptq best: 7 samples are too few to choose by, at least 8 are needed: default kept",)


def test_eight_samples_will_do():
    model, data = small_models.perceptron()
    _, _, notes = both(model, small_models.rows(data, 0, 8))
    assert "too few" not in notes[0]


def test_a_winner_that_loses_on_held_out_samples_is_not_kept(monkeypatch):
    model, data = small_models.hard_case()
    measure = post_training._Judge.measure
    calls = []

    def unlucky(judge, content, part):
        calls.append(part)
        return [100.0 - len(calls)] if part == "held" else measure(judge, content, part)

    monkeypatch.setattr(post_training._Judge, "measure", unlucky)
    default, best, notes = both(model, small_models.rows(data, 0, 40))
    assert best == default and notes[0].endswith("default kept")


def test_progress_counts_candidates():
    model, data = small_models.perceptron()
    reports = []
    export.to_chosen_tflite(
        small_models.trace(model), "int8", ptq="best", samples=small_models.rows(data, 0, 16), progress=reports.append
    )
    assert [report["done"] for report in reports] == list(range(1, len(reports) + 1)) and len(reports) >= 5


@pytest.mark.parametrize("quantization", ["int16x8", "dynamic", "float16", "float32"])
def test_only_int8_can_be_best(quantization):
    model, _ = small_models.perceptron()
    with pytest.raises(tfopt.ArgumentError, match=r"`ptq` best needs the quantization int8"):
        tfopt.convert(model, quantization=quantization, ptq="best")


@pytest.mark.parametrize(("score", "better"), [([20.5, 30], True), ([20.4, 30], False), ([40, 29.9], False), ([20, 31], True)])
def test_better_is_a_gain_without_a_loss(score, better):
    assert post_training._is_better(score, [20, 30]) == (better and sum(score) >= 51)
