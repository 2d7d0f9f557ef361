"""`inspect` lists what is in a file, and prints the table of the command line."""

import dataclasses
import json

import pytest
from exported import tflite_of

import tfopt
from tfopt.checking.inspect import End, LayerContents
from tfopt.reporting import report


def test_tflite(converted, tmp_path):
    (tmp_path / "model.tflite").write_bytes(converted.tflite)
    found = tfopt.inspect(tmp_path / "model.tflite")
    json.dumps(report.to_dict(found), allow_nan=False)
    assert found.format == "tflite" and found.bytes == len(converted.tflite)
    (source,), (target,) = found.inputs, found.outputs
    assert (source.name, source.dtype, source.shape) == ("image", "int8", (1, 8, 8, 1))
    assert source.scale == (pytest.approx(1 / 255),) and source.zero_point == (-128,)
    assert (target.name, target.scale) == ("digit", (1 / 256,))
    assert found.ops == {"CONV_2D": 2, "RESHAPE": 1, "FULLY_CONNECTED": 1, "SOFTMAX": 1}
    assert found.quantization == "int8" and found.float_ops == () and found.partitions == 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("keras3.keras", "keras"),
        ("keras3.h5", "keras"),
        ("keras2.h5", "tf_keras"),
        ("keras2.keras", "tf_keras"),
        ("saved_model", "saved_model"),
    ],
)
def test_models(model_files, classifier, name, kind):
    found = tfopt.inspect(model_files / name)
    json.dumps(report.to_dict(found), allow_nan=False)
    assert found.format == kind and found.bytes > 10_000
    assert found.inputs == (End("image", (None, 8, 8, 1), "float32"),)
    if kind != "saved_model":  # whose layers are gone
        assert found.parameters == classifier.count_params()
        assert found.trainable_parameters == found.parameters - 2 * (16 + 32)
        assert LayerContents("digit", "Dense", 5130, "float32", 0.0) in found.layers
        assert found.outputs == (End("digit", (None, 10), "float32"),)


def test_repr_is_one_short_line(model_files, converted, tmp_path, classifier):
    (tmp_path / "model.tflite").write_bytes(converted.tflite)
    found = tfopt.inspect(tmp_path / "model.tflite")
    assert repr(found) == f"Inspection(tflite, {len(converted.tflite):,} B, {found.parameters:,} parameters)"
    found = tfopt.inspect(model_files / "keras3.keras")
    assert repr(found) == f"Inspection(keras, {found.bytes:,} B, {classifier.count_params():,} parameters)"


@pytest.mark.parametrize("name", ["model.tflite", "keras3.keras", "keras2.keras", "saved_model"])
def test_print_is_the_table_of_the_command_line(model_files, converted, run_cli, tmp_path, name):
    (tmp_path / "model.tflite").write_bytes(converted.tflite)
    path = tmp_path / name if name.endswith(".tflite") else model_files / name
    finished = run_cli("inspect", path)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.replace(str(path), "the file") == f"{tfopt.inspect(path)}\n"


def test_html_has_the_same_rows_with_names_escaped(converted, tmp_path):
    (tmp_path / "model.tflite").write_bytes(converted.tflite)
    found = tfopt.inspect(tmp_path / "model.tflite")
    assert "<td>CONV_2D</td>" in found._repr_html_()
    html = dataclasses.replace(found, inputs=(End("<b>&", (1, None), "int8", (0.5,), (3,)),))._repr_html_()
    assert "<td>&lt;b&gt;&amp;</td><td>int8</td><td>(1, ?)</td><td>0.5, 3</td>" in html and "<b>" not in html


def test_zeros_are_counted_in_models_and_in_files(classifier, digits, tmp_path):
    pruned = tfopt.prune(classifier, 0.75, include="*")
    pruned.save(tmp_path / "pruned.keras")
    found = tfopt.inspect(tmp_path / "pruned.keras")
    assert found.sparsity == pytest.approx(0.75, abs=1e-3)
    assert {layer.name: layer.sparsity for layer in found.layers}["digit"] == 0.75
    assert all(layer.sparsity is None for layer in found.layers if layer.class_name in ("BatchNormalization", "ReLU"))
    (images, _), _ = digits
    (tmp_path / "pruned.tflite").write_bytes(tflite_of(pruned, images[:200]))
    found = tfopt.inspect(tmp_path / "pruned.tflite")
    assert found.sparsity >= 0.75 - 1e-3  # and what rounds to zero
    assert all(tensor.zeros is not None for tensor in found.tensors if tensor.role == "weight" and len(tensor.shape) > 1)


def test_a_quantization_aware_file_is_one_of_keras(classifier, tmp_path):
    tfopt.quantize_aware(classifier).save(tmp_path / "qat.keras")
    assert tfopt.inspect(tmp_path / "qat.keras").format == "keras"
