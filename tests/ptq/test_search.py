"""`ptq="best"` gains where channels differ, and never returns what is worse than the default on held-out samples."""

import json
import re

import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

import tfopt
from tfopt.conversion import convert, export
from tfopt.conversion.export import Variant
from tfopt.conversion.export_job import SavedJob, export_saved
from tfopt.conversion.settings import ConversionRequest, FileRequest, Settings
from tfopt.progress import ignore
from tfopt.ptq import headroom, search
from tfopt.ptq.recipes import Workshop
from tfopt.reporting.markdown import to_markdown
from tfopt.tflite import op_audit


def both(model, samples, *, batch_size=1, io="int8"):
    """(bytes of default, bytes of best, notes)."""
    traced = small_models.trace(model, batch_size)
    default = export.to_tflite(traced, export.Variant("int8", io=io), samples=samples)
    best = export.to_tflite(traced, export.Variant("int8", io=io, ptq="best"), samples=samples)
    return default.content, best.content, best.notes


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
    found = op_audit.examine(tfopt.Interpreter(best), quantization="int8")
    assert not found.float_ops and found.partitions == 1
    assert {tensor.dtype for tensor in (*found.inputs, *found.outputs)} == {"int8"}
    assert tfopt.Interpreter(best).input_names == ["image"] and tfopt.Interpreter(best).output_names == ["score"]
    (note,) = notes
    assert re.match(
        r"ptq best: .*channels equalized.* multiplications added.*: [\d.]+ dB against [\d.]+ dB of the default on 20 held-out "
        r"samples, the best of \d+ candidates",
        note,
    )


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
    (images, _), _ = digits
    default, best, notes = both(classifier, {"image": images[:80]})
    held = held_out({"image": images}, 80)
    wanted = small_models.predict(classifier, held)
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
    assert notes[0] == "ptq best: 7 samples are too few to choose by (at least 8 are needed): default kept"


def test_eight_samples_will_do():
    model, data = small_models.perceptron()
    _, _, notes = both(model, small_models.rows(data, 0, 8))
    assert "too few" not in notes[0]


def test_a_winner_that_loses_on_held_out_samples_is_not_kept(monkeypatch):
    model, data = small_models.hard_case()
    measure = search._Judge.measure
    calls = []

    def unlucky(judge, content, part):
        calls.append(part)
        return [100.0 - len(calls)] if part == "held" else measure(judge, content, part)

    monkeypatch.setattr(search._Judge, "measure", unlucky)
    default, best, notes = both(model, small_models.rows(data, 0, 40))
    assert best == default and notes[0].endswith("default kept")


def test_notes_come_through_a_saved_model(tmp_path):
    """What the child process of `convert` does, in this process."""
    model, data = small_models.hard_case()
    traced = small_models.trace(model)
    export.save_traced(traced, tmp_path)
    np.savez(tmp_path / "samples.npz", input_0=data["image"][:40])
    request = SavedJob(
        folder=str(tmp_path),
        inputs=tuple(traced.inputs),
        output_names=tuple(traced.output_names),
        keeps_functions=False,
        layers={},
        scopes=traced.scopes,
        ends=headroom.suited(traced.function),
        variants={"one": Variant("float32", "float32"), "two": Variant("int8", ptq="best")},
        skip_lowering=(),
        suspects=(),
    )
    made = json.loads(json.dumps(export_saved(request.to_json(), ignore)))
    notes = {name: each["notes"] for name, each in made.items()}
    assert notes["one"] == [] and "channels equalized" in notes["two"][0]
    assert tfopt.Interpreter(tmp_path / "two").input_names == ["image"]


def test_report_of_a_file_tells_what_was_done(tmp_path):
    """What the child process of the command line does, in this process."""
    model, data = small_models.hard_case()
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "data.npy", data["image"][:40])
    conversion = ConversionRequest(
        model=str(tmp_path / "model.keras"),
        representative_data=str(tmp_path / "data.npy"),
        settings=Settings(ptq="best", runs=2),
    )
    request = FileRequest(conversion=conversion, name="model.tflite", staging=str(tmp_path / "model.tflite"))
    found = to_markdown(convert.convert_file(request.to_json(), ignore))
    assert re.search(r"## Notes\n(.*\n)*- ptq best: .*channels equalized", found) and "ptq='best'" in found


def test_a_file_that_the_kernels_refuse_is_no_candidate(monkeypatch):
    model, data = small_models.hard_case()
    make = Workshop.make

    def refused(workshop, recipe):
        return make(workshop, recipe) if not recipe.equalized else b"\0" * 4 + b"TFL3"

    def opened(content):
        if content == b"\0" * 4 + b"TFL3":
            raise tfopt.ConversionError("refused")
        return tfopt.Interpreter(content)

    monkeypatch.setattr(Workshop, "make", refused)
    monkeypatch.setattr(search, "Interpreter", opened)
    _, _, notes = both(model, small_models.rows(data, 0, 16))
    assert "equalized" not in notes[0]


def test_integer_inputs():
    keras.utils.set_random_seed(0)
    ids = keras.Input((6,), dtype="int32", name="ids")
    x = keras.layers.Dense(8, activation="relu")(keras.layers.Embedding(50, 8)(ids))
    model = keras.Model(ids, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(x)))
    data = {"ids": np.random.default_rng(0).integers(0, 50, (40, 6)).astype("int32")}
    default, best, notes = both(model, data)
    wanted = small_models.predict(model, data)
    before, after = (small_models.sqnr(wanted, tfopt.Interpreter(file).run(data))[0] for file in (default, best))
    assert after >= before - 0.01, notes


def test_trained_ranges_are_left_alone():
    class Trained(keras.layers.Layer):
        def call(self, inputs):
            return tf.quantization.fake_quant_with_min_max_args(inputs, -3.0, 3.0)

    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu")(Trained()(image))
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(Trained()(x))))
    default, best, notes = both(model, {"image": np.random.default_rng(0).normal(size=(20, 8, 8, 1)).astype("float32")})
    assert best == default
    assert notes == ("ptq best: the model was trained with quantization and keeps its ranges: default kept",)


def test_progress_counts_candidates():
    model, data = small_models.perceptron()
    reports = []
    export.to_tflite(
        small_models.trace(model),
        export.Variant("int8", ptq="best"),
        samples=small_models.rows(data, 0, 16),
        progress=reports.append,
    )
    assert [report["done"] for report in reports] == list(range(1, len(reports) + 1)) and len(reports) >= 5


@pytest.mark.parametrize("quantization", ["int16x8", "dynamic", "float16", "float32"])
def test_only_int8_can_be_best(quantization):
    model, _ = small_models.perceptron()
    with pytest.raises(tfopt.ArgumentError, match=r"`ptq` best needs the quantization int8"):
        tfopt.convert(model, quantization=quantization, ptq="best")


@pytest.mark.parametrize(("score", "better"), [([20.5, 30], True), ([20.4, 30], False), ([40, 29.9], False), ([20, 31], True)])
def test_better_is_a_gain_without_a_loss(score, better):
    assert search.is_better(score, [20, 30]) == (better and sum(score) >= 51)
