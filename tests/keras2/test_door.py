"""Importing tfmot leaves the meaning of `tf.keras` and the environment as they were."""

import os
import subprocess
import sys
import types

import pytest

from tfopt.keras2 import door

VARIABLE = "TF_USE_LEGACY_KERAS"


def test_tfmot_leaves_the_meaning_of_tf_keras():
    code = """
import operator, os, sys
from tfopt.keras2 import door
assert not {"tensorflow", "tf_keras"} & set(sys.modules)
door.tfmot()
import tensorflow
print(os.environ.get("TF_USE_LEGACY_KERAS"), operator.attrgetter("keras.Model")(tensorflow).__module__.partition(".")[0])
"""
    environment = {name: text for name, text in os.environ.items() if name != VARIABLE}
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == ["None", "keras"]


class LazyKeras(types.ModuleType):
    """A `tensorflow` whose `keras` is settled by the environment at its first use, as that of TensorFlow 2.21 is."""

    def __getattr__(self, name):
        if name != "keras":
            raise AttributeError(name)
        self.keras = types.SimpleNamespace(Model=os.environ.get(VARIABLE))
        return self.keras


class Sets:
    """Imports a module tensorflow_model_optimization that sets the variable, as tfmot 0.8 does."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "tensorflow_model_optimization":
            os.environ[VARIABLE] = "1"
            raise ZeroDivisionError
        return


@pytest.mark.parametrize("value", [None, "0", "1"], ids=["unset", "0", "1"])
def test_the_variable_is_as_before_even_if_the_import_fails(value, monkeypatch):
    tensorflow = LazyKeras("tensorflow")
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow)
    monkeypatch.delitem(sys.modules, "tensorflow_model_optimization", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Sets, *sys.meta_path])
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ZeroDivisionError):
        door.tfmot.__wrapped__()
    assert os.environ.get(VARIABLE) == value
    assert tensorflow.keras.Model == value  # settled before tfmot set the variable
