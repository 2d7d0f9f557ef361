"""The kind, the writer and the configuration of a file are read without TensorFlow."""

import json
import pathlib

import keras
import pytest
from config_trees import with_config

import tfopt
from tfopt.loading import model_file


def test_reading_a_configuration_needs_no_tensorflow(model_files):
    import subprocess
    import sys

    code = "import sys; from tfopt.loading import model_file; model_file.read(sys.argv[1]); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, str(model_files / "keras2.h5")]).returncode == 0


def test_the_writers_version_is_read(model_files):
    assert model_file.read(model_files / "keras2.h5").keras_version.startswith("2.")
    assert model_file.read(model_files / "keras3.h5").keras_version == keras.__version__
    assert model_file.read(pathlib.Path(model_files / "saved_model")).kind == "saved_model"


@pytest.mark.parametrize("name", ["keras3.keras", "keras3.h5", "keras2.h5", "keras2.keras"])
def test_a_configuration_that_makes_one_layer_is_no_model(model_files, tmp_path, name):
    content, suffix = (model_files / name).read_bytes(), pathlib.Path(name).suffix
    layer = {"class_name": "Dense", "config": {"name": "alone", "units": 3}, "module": "keras.layers", "registered_name": None}
    (tmp_path / name).write_bytes(with_config(content, suffix, json.dumps(layer)))
    with pytest.raises(tfopt.LoadError, match=name):
        tfopt.load(tmp_path / name)
