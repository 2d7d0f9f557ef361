"""`inspect` lists what is in a file, in JSON types."""

import json

import pytest

import tfopt


def test_tflite(converted, tmp_path):
    (tmp_path / "model.tflite").write_bytes(converted.tflite)
    found = tfopt.inspect(tmp_path / "model.tflite")
    json.dumps(found, allow_nan=False)
    assert found["format"] == "tflite" and found["bytes"] == len(converted.tflite)
    (source,), (target,) = found["inputs"], found["outputs"]
    assert (source["name"], source["dtype"], source["shape"]) == ("image", "int8", [1, 8, 8, 1])
    assert source["scale"] == [pytest.approx(1 / 255)] and source["zero_point"] == [-128]
    assert (target["name"], target["scale"]) == ("digit", [1 / 256])
    assert found["ops"] == {"CONV_2D": 2, "RESHAPE": 1, "FULLY_CONNECTED": 1, "SOFTMAX": 1}
    assert found["quantization"] == "int8" and found["float_ops"] == [] and found["partitions"] == 1


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
    json.dumps(found, allow_nan=False)
    assert found["format"] == kind and found["bytes"] > 10_000
    assert found["inputs"] == [{"name": "image", "shape": [None, 8, 8, 1], "dtype": "float32"}]
    if kind != "saved_model":  # whose layers are gone
        assert found["parameters"] == classifier.count_params()
        assert found["trainable_parameters"] == found["parameters"] - 2 * (16 + 32)
        assert {"name": "digit", "class": "Dense", "parameters": 5130, "dtype": "float32"} in found["layers"]
        assert found["outputs"] == [{"name": "digit", "shape": [None, 10], "dtype": "float32"}]
