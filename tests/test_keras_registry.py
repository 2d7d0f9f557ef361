"""Plain `keras.saving.load_model` reads models with classes of tfopt, in either order of the imports, and Keras stays as it is."""

import ast
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import tfopt
from tfopt import keras_registry

PACKAGE = pathlib.Path(tfopt.__file__).parent


def run(code):
    """Runs code in a fresh process; it must print "held"."""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0 and "held" in finished.stdout, finished.stderr[-3000:]


def is_registration(decorator):
    return ast.unparse(decorator) == "keras.saving.register_keras_serializable('tfopt')"


def test_all_registered_classes_are_known_with_their_module():
    found = {
        node.name: ".".join(("tfopt", *file.relative_to(PACKAGE).with_suffix("").parts))
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef) and any(map(is_registration, node.decorator_list))
    }
    assert found == keras_registry.SERIALIZABLE


FAKE_KERAS = {
    "__init__.py": """
import os, time
from keras import saving
time.sleep(0.1)  # other threads arrive
if "FAIL" in os.environ:
    raise RuntimeError("no backend")
""",
    "saving.py": """
_objects = {}
def get_custom_objects():
    return _objects
""",
}


def test_registers_after_keras_and_leaves_its_import_alone(tmp_path):
    (tmp_path / "keras").mkdir()
    for name, content in FAKE_KERAS.items():
        (tmp_path / "keras" / name).write_text(content)
    run(f"""
import importlib.machinery, importlib.util, os, sys, threading
import tfopt
from tfopt import keras_registry
sys.path.insert(0, {str(tmp_path)!r})

assert importlib.util.find_spec("keras").origin.startswith({str(tmp_path)!r}), "to find is not to import"
assert importlib.util.find_spec("keras.saving") and "FAIL" not in os.environ
for name in [name for name in sys.modules if name.partition(".")[0] == "keras"]:  # find_spec of a submodule imports its parent
    del sys.modules[name]

os.environ["FAIL"] = "1"
for _ in range(2):
    try:
        import keras
    except RuntimeError as error:
        assert str(error) == "no backend"
    assert "keras" not in sys.modules
    del sys.modules["keras.saving"]
del os.environ["FAIL"]

counts = []
def use():
    import keras
    counts.append(len(keras.saving.get_custom_objects()))
threads = [threading.Thread(target=use) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert counts == [len(keras_registry.SERIALIZABLE)] * 4, counts

import keras
assert type(keras.__loader__) is type(keras.__spec__.loader) is importlib.machinery.SourceFileLoader
assert importlib.util.find_spec("keras") is keras.__spec__
objects = keras.saving.get_custom_objects()
objects["tfopt>Distiller"] = "its own"
importlib.reload(keras), importlib.reload(tfopt)
assert keras.saving.get_custom_objects() is objects and objects["tfopt>Distiller"] == "its own"
assert sum(type(finder).__module__ == "tfopt.keras_registry" for finder in sys.meta_path) == 1
assert not {{"numpy", *keras_registry.SERIALIZABLE.values()}} & set(sys.modules), "nothing else was imported"
print("held")
""")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a quantization-aware model, a Distiller, an input and the outputs of both for it."""
    folder = tmp_path_factory.mktemp("saved")
    x = np.random.default_rng(0).normal(size=(8, 4, 3)).astype("float32")

    def net(units, name):
        source = keras.Input((4, 3), name="x")
        hidden = layers.BatchNormalization()(layers.Dense(units, name="hidden")(source))
        return keras.Model(source, layers.Dense(2, name="class")(layers.Flatten()(hidden)), name=name)

    qat = tfopt.calibrate(tfopt.quantize_aware(net(4, "student"), freeze_batch_normalization=True), x)
    losses = [
        tfopt.LogitsDistillation(), tfopt.DecoupledDistillation(), tfopt.FeatureDistillation("hidden", "hidden"),
        tfopt.AttentionTransfer("hidden", "hidden"), tfopt.RelationalDistillation(),
    ]  # fmt: skip
    distiller = tfopt.Distiller(student=qat, teacher=net(4, "teacher"), distillation_losses=losses)
    rate = tfopt.WarmUp(keras.optimizers.schedules.CosineDecay(1e-3, 10), steps=5)
    distiller.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    qat.save(folder / "qat.keras")
    distiller.save(folder / "distiller.keras")
    np.savez(folder / "data.npz", x=x, qat=qat(x), teacher=distiller.teacher(x))
    return folder


@pytest.mark.parametrize("imports", [pytest.param("import tfopt, keras", marks=pytest.mark.slow), "import keras, tfopt"])
def test_loads_in_a_fresh_process_whichever_is_imported_first(saved, imports):
    run(f"""
import sys
sys.modules |= dict.fromkeys(("matplotlib", "sklearn"))  # None: Keras imports them where they are, which takes long
{imports}
import numpy as np
data = np.load({str(saved / "data.npz")!r})
qat = keras.saving.load_model({str(saved / "qat.keras")!r})
distiller = keras.saving.load_model({str(saved / "distiller.keras")!r})
for model, expected in ((qat, "qat"), (distiller, "qat"), (distiller.teacher, "teacher")):
    np.testing.assert_allclose(model(data["x"]), data[expected], atol=1e-6)
assert type(distiller) is tfopt.Distiller and type(distiller.optimizer.learning_rate) is not float
assert [type(loss).__name__ for loss in distiller.distillation_losses][0] == "LogitsDistillation"
print("held")
""")
