"""A model's own classes and functions are asked for by name and come from a dict or from a Python file."""

import json
import sys

import h5py
import keras
import numpy as np
import pytest

import tfopt
from tfopt.loading.custom_objects import by_name


@keras.saving.register_keras_serializable(package="elsewhere")
class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs


@pytest.fixture
def custom_model_file(tmp_path):
    model = keras.Sequential([keras.Input((3,)), Doubled(name="twice")])
    model.save(tmp_path / "custom.keras")
    keras.saving.get_custom_objects().pop("elsewhere>Doubled")
    yield tmp_path / "custom.keras"
    keras.saving.get_custom_objects()["elsewhere>Doubled"] = Doubled


def test_custom_layer_is_asked_for_by_name(custom_model_file):
    with pytest.raises(tfopt.LoadError, match=r"layer 'twice' needs '.*Doubled'.*--custom-objects") as caught:
        tfopt.load(custom_model_file)
    assert not isinstance(caught.value, tfopt.UnsafeModelError)


def test_custom_layer_from_a_dict_or_a_file(custom_model_file, tmp_path):
    source = (
        "import keras\nimport beside\n\nclass Doubled(keras.layers.Layer):\n    def call(self, x):\n        return beside.TWO * x\n"
    )
    (tmp_path / "beside.py").write_text("TWO = 2\n")
    (tmp_path / "my_layers.py").write_text(source)
    for custom_objects in ({"Doubled": Doubled}, tmp_path / "my_layers.py", str(tmp_path / "my_layers.py")):
        model = tfopt.load(custom_model_file, custom_objects=custom_objects)
        np.testing.assert_array_equal(model(np.ones((1, 3))), np.full((1, 3), 2.0))


def test_names_that_python_cannot_have_come_from_a_dict_in_the_file(tmp_path):
    import tf_keras

    source = tf_keras.Input((3,))
    tf_keras.Model(source, tf_keras.layers.Dense(2, name="dense")(source)).save(tmp_path / "nameless.h5")
    with h5py.File(tmp_path / "nameless.h5", "r+") as file:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][1]["config"]["activation"] = "<lambda>"
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(tfopt.LoadError, match="(?s)layer 'dense' has the activation `<lambda>`.*--custom-objects FILE.py"):
        tfopt.load(tmp_path / "nameless.h5")
    for name in ("<lambda>", "dense"):
        (tmp_path / "mine.py").write_text(f"def zero(x):\n    return 0 * x\n\ncustom_objects = {{{name!r}: zero}}\n")
        model = tfopt.load(tmp_path / "nameless.h5", custom_objects=tmp_path / "mine.py")
        np.testing.assert_array_equal(model(np.ones((1, 3), "float32")), np.zeros((1, 2)))
    (tmp_path / "mine.py").write_text("custom_objects = 7\n")
    with pytest.raises(tfopt.LoadError, match="must be a dict of name"):
        tfopt.load(tmp_path / "nameless.h5", custom_objects=tmp_path / "mine.py")


@pytest.mark.parametrize("content", [None, "raise RuntimeError('broken')", "def ("], ids=["missing", "raising", "no Python"])
def test_custom_objects_file_that_cannot_run(custom_model_file, tmp_path, content):
    if content is not None:
        (tmp_path / "bad.py").write_text(content)
    with pytest.raises(tfopt.LoadError, match="Received: .*bad.py"):
        tfopt.load(custom_model_file, custom_objects=tmp_path / "bad.py")


def test_a_file_with_dataclasses_is_run_and_leaves_no_module_behind(tmp_path):
    before = sys.modules.get("json")
    source = (
        "from __future__ import annotations\nimport dataclasses\n\n@dataclasses.dataclass\nclass Settings:\n    rate: float = 0.5\n"
    )
    for name in ("my_settings.py", "json.py"):
        (tmp_path / name).write_text(source)
        assert by_name(tmp_path / name)["Settings"]().rate == 0.5
    assert "my_settings" not in sys.modules and sys.modules["json"] is before


@pytest.mark.parametrize(
    "source", ["import sys\nsys.exit(0)\n", "raise SystemExit", "def f(:\n", "\0", "1 / 0\n", "\xff"], ids=repr
)
def test_a_file_that_does_not_run_is_refused(tmp_path, source):
    (tmp_path / "mine.py").write_bytes(source.encode("latin1"))
    with pytest.raises(tfopt.LoadError, match="custom objects file must be Python that runs. Received: .*mine.py"):
        by_name(tmp_path / "mine.py")
