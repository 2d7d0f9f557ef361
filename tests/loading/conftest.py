"""Hostile models, and functions that build models."""

import pytest

SOURCE = """
import {keras} as keras

def build():
    return keras.Sequential([keras.layers.InputLayer((4,)), keras.layers.Dense(3), keras.layers.Dense({units})])

def fails():
    raise RuntimeError("no luck")

def unbuilt():
    return keras.Sequential([keras.layers.Dense(3)])

def nothing():
    return 7
"""


@pytest.fixture
def flag(tmp_path):
    """A file that hostile models would write if their code ran; it must not exist in the end."""
    path = tmp_path / "code-ran"
    yield path
    assert not path.exists(), "code from the model file was run"


@pytest.fixture
def architectures(tmp_path, monkeypatch):
    """The working folder, with modules whose functions build models of Keras 3 and of Keras 2, and one of other shapes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_new_models.py").write_text(SOURCE.format(keras="keras", units=2))
    (tmp_path / "my_old_models.py").write_text(SOURCE.format(keras="tf_keras", units=2))
    (tmp_path / "my_wide_models.py").write_text(SOURCE.format(keras="keras", units=5))
    return tmp_path
