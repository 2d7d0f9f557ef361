"""`docs/train.py`, as it stands there."""

import pathlib

import pytest
from workers import launch

SCRIPT = pathlib.Path(__file__).parents[2] / "docs" / "train.py"


@pytest.mark.slow
def test_two_workers_train_prune_quantize_and_write_one_file(tmp_path):
    said = launch(2, SCRIPT, "--folder", tmp_path, "--epochs", 2)
    assert said.count("int8 accuracy") == 1 and "passed" in said, said
    assert {"quantized.keras", "model.tflite"} <= {file.name for file in tmp_path.iterdir()}
