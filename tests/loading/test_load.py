"""Every format of both Keras generations loads right; damaged, foreign and unfinished files are refused."""

import shutil

import numpy as np
import pytest

import tfopt


@pytest.mark.parametrize("name", ["keras3.keras", "keras3.h5", "saved_model", "keras2.h5", "keras2.keras"])
def test_loaded_model_computes_the_same(model_files, classifier, legacy_classifier, digits, name):
    images = digits[1][0][:20]
    original = legacy_classifier if name.startswith("keras2") else classifier
    outputs = tfopt.load(model_files / name)(images)
    outputs = next(iter(outputs.values())) if isinstance(outputs, dict) else outputs
    np.testing.assert_allclose(outputs, original(images), atol=1e-5)


def test_files_are_known_by_content_not_by_name(model_files, tmp_path, digits):
    shutil.copy(model_files / "keras3.keras", tmp_path / "model.h5")
    assert tfopt.load(tmp_path / "model.h5").count_params() > 0


DAMAGES = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "random": lambda content: np.random.default_rng(0).bytes(5000),
    "text": lambda content: b"These are not the weights you are looking for.\n",
    "header only": lambda content: content[:16],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", ["keras3.keras", "keras3.h5", "keras2.h5", "keras2.keras"])
def test_damaged_file_is_refused(model_files, tmp_path, name, damage):
    path = tmp_path / name
    path.write_bytes(damage((model_files / name).read_bytes()))
    with pytest.raises(tfopt.LoadError, match=f"Received: .*{name}"):
        tfopt.load(path)


def test_missing_foreign_and_weights_only(model_files, tmp_path, classifier, legacy_classifier):
    classifier.save_weights(tmp_path / "weights.weights.h5")
    legacy_classifier.save_weights(tmp_path / "weights2.h5")
    (tmp_path / "model.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(100))
    expected = {
        "nothing.h5": "No such file",
        "": "folder without `saved_model.pb`",
        "weights.weights.h5": "weights only",
        "weights2.h5": "weights only",
        "model.tflite": "converted already",
    }
    for name, words in expected.items():
        with pytest.raises(tfopt.LoadError, match=words):
            tfopt.load(tmp_path / name)
