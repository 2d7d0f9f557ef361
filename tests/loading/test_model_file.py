"""The kind, the writer and the configuration of a file are read without TensorFlow."""

import pathlib

import keras

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
