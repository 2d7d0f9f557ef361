"""A result is saved whole, with what made it, or not at all."""

import hashlib
import json

import pytest

import tfopt


def test_saved_report_holds_what_made_the_file(converted, tmp_path):
    converted.save(tmp_path / "digits.tflite")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits.report.json", "digits.report.md", "digits.tflite"]
    report = json.loads((tmp_path / "digits.report.json").read_text())
    content = (tmp_path / "digits.tflite").read_bytes()
    assert report["schema_version"] == 1
    assert report["tflite"] == {"name": "digits.tflite", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert report["settings"]["quantization"] == "int8" and report["settings"]["seed"] == 0
    assert {"tensorflow", "keras", "ai-edge-litert", "cpu"} <= set(report["environment"])
    assert report["check"]["passed"] is True and report["check"]["accuracy"] == converted.check.accuracy
    with pytest.raises(tfopt.OutputError, match="must not exist yet"):
        converted.save(tmp_path / "digits.tflite")
    converted.save(tmp_path / "digits.tflite", overwrite=True)


def test_save_wants_the_right_ending(converted, tmp_path):
    with pytest.raises(tfopt.ArgumentError, match="something.tflite"):
        converted.save(tmp_path / "model")
