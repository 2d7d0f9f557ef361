"""Every format of both Keras generations loads right; damaged, foreign and hostile files are refused and run nothing."""

import json
import pathlib
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.loading import model_file

LEGACY = pathlib.Path(__file__).parents[1] / "data" / "legacy_h5"


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


def test_saved_model_with_several_inputs_and_outputs(tmp_path):
    first, second = keras.Input((3,), name="first"), keras.Input((2,), name="second")
    model = keras.Model([second, first], [keras.layers.Dense(2)(first), keras.layers.Dense(4)(second)])
    model.export(tmp_path / "saved", verbose=False)
    loaded = tfopt.load(tmp_path / "saved")
    arrays = {"first": np.ones((5, 3), "float32"), "second": np.ones((5, 2), "float32")}
    expected = model([arrays["second"], arrays["first"]])
    for output, wanted in zip(loaded(arrays).values(), expected, strict=True):
        np.testing.assert_allclose(output, wanted, atol=1e-6)


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


def test_a_file_in_which_hdf5_loops_for_ever_is_refused(tmp_path, monkeypatch):
    content = (LEGACY / "keras-2.0.5_tf-1.4.1" / "embedding.h5").read_bytes()
    (tmp_path / "loop.h5").write_bytes(content[:2471] + content[2470:])
    monkeypatch.setattr(model_file, "PROBE_SECONDS", 3)
    with pytest.raises(tfopt.LoadError, match="damaged HDF5 file, which cannot be read to its end"):
        tfopt.load(tmp_path / "loop.h5")


def test_truncated_saved_model_is_refused(model_files, tmp_path):
    shutil.copytree(model_files / "saved_model", tmp_path / "saved")
    graph = tmp_path / "saved" / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(tfopt.LoadError, match="Received: .*saved"):
        tfopt.load(tmp_path / "saved")


def test_missing_foreign_and_weights_only(model_files, tmp_path, classifier, legacy_classifier, converted):
    classifier.save_weights(tmp_path / "weights.weights.h5")
    legacy_classifier.save_weights(tmp_path / "weights2.h5")
    (tmp_path / "model.tflite").write_bytes(converted.tflite)
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


class TestHostileFiles:
    """Each file would write a flag file if anything in it ran. The flag must never appear."""

    @pytest.fixture
    def flag(self, tmp_path):
        path = tmp_path / "code-ran"
        yield path
        assert not path.exists(), "code from the model file was run"

    @staticmethod
    def writer(flag):
        # Bytecode of a function that leaves a trace on its first run, whatever it is called with.
        return eval(f"lambda x: (__import__('pathlib').Path({str(flag)!r}).touch(), x)[1]")

    @pytest.mark.parametrize("name", ["lambda.h5", "lambda.keras"])
    @pytest.mark.parametrize("generation", ["keras 2", "keras 3"])
    def test_lambda_layer(self, tmp_path, flag, generation, name):
        import tf_keras

        layers, model_class = (
            (keras.layers, keras.Sequential) if generation == "keras 3" else (tf_keras.layers, tf_keras.Sequential)
        )
        model = model_class([layers.InputLayer((4,)), layers.Lambda(self.writer(flag), name="payload", output_shape=(4,))])
        model.save(tmp_path / name)
        flag.unlink(missing_ok=True)  # saving a model runs it
        with pytest.raises(tfopt.UnsafeModelError, match="layer 'payload' holds Python bytecode.*--allow-unsafe"):
            tfopt.load(tmp_path / name)
        assert not flag.exists()
        tfopt.load(tmp_path / name, allow_unsafe=True)(np.ones((1, 4)))
        assert flag.exists(), "the payload works, so its silence above means something"
        flag.unlink()

    @pytest.mark.parametrize("version", ["2.15.0", "3.15.1"])
    @pytest.mark.parametrize(
        "gadget",
        [
            {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
            {"module": "os", "class_name": "function", "config": "system", "registered_name": "my>given"},
            {"module": "os", "class_name": "given", "config": {}, "registered_name": "not given"},
            {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "function"},
            {"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": "get_file"},
            {"module": "subprocess", "class_name": "Popen", "config": {"args": ["true"]}, "registered_name": "Popen"},
            {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}},
        ],
        ids=["os.system", "behind a given name", "given class name", "exec", "get_file", "Popen", "bytecode"],
    )
    def test_gadget_in_a_config(self, model_files, tmp_path, flag, gadget, version):
        with zipfile.ZipFile(model_files / "keras3.keras") as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        config = json.loads(members["config.json"])
        config["config"]["layers"][1]["config"]["activation"] = gadget
        members["config.json"] = json.dumps(config).encode()
        members["metadata.json"] = json.dumps({"keras_version": version}).encode()
        with zipfile.ZipFile(tmp_path / "gadget.keras", "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        with pytest.raises(tfopt.LoadError, match="layer 'conv2d"):
            tfopt.load(tmp_path / "gadget.keras", custom_objects={"given": lambda x: x})

    @pytest.mark.parametrize(
        "function", ["io.write_file", "compat.v1.write_file", "py_function", "raw_ops.WriteFile", "print", "compat.v1.Session"]
    )
    def test_keras_2_op_layer_that_reaches_files_or_python(self, model_files, tmp_path, flag, function):
        shutil.copy(model_files / "keras2.h5", tmp_path / "op.h5")
        with h5py.File(tmp_path / "op.h5", "r+") as file:
            config = json.loads(file.attrs["model_config"])
            layer = {"class_name": "TFOpLambda", "config": {"name": "reaching", "function": function}}
            config["config"]["layers"].append(layer)
            file.attrs["model_config"] = json.dumps(config)
        with pytest.raises(tfopt.UnsafeModelError, match=f"'reaching' calls `tf.{function}`"):
            tfopt.load(tmp_path / "op.h5")

    def test_keras_2_op_layers_that_compute_are_let_through(self, tmp_path):
        import tensorflow as tf
        import tf_keras

        source = tf_keras.Input((4,))
        model = tf_keras.Model(source, tf.math.multiply(tf.nn.relu(source) + 1.0, 2.0)[:, 1:])
        model.save(tmp_path / "ops.h5")
        np.testing.assert_array_equal(tfopt.load(tmp_path / "ops.h5")(np.ones((1, 4), "float32")), np.full((1, 3), 4.0))

    @pytest.mark.parametrize("kind", ["ClassMethod", "InstanceMethod", "TensorFlowOpLayer"])
    def test_keras_2_layers_that_call_anything(self, model_files, tmp_path, flag, kind):
        shutil.copy(model_files / "keras2.h5", tmp_path / "op.h5")
        with h5py.File(tmp_path / "op.h5", "r+") as file:
            config = json.loads(file.attrs["model_config"])
            inner = {"name": "caller", "cls_symbol": "io.gfile.remove", "method_name": "__call__"}
            config["config"]["layers"].append({"class_name": kind, "config": inner})
            file.attrs["model_config"] = json.dumps(config)
        with pytest.raises(tfopt.UnsafeModelError, match=f"'caller' is a {kind} layer"):
            tfopt.load(tmp_path / "op.h5")

    @pytest.mark.parametrize(
        "kind, config",
        [
            ("TensorFlowOpLayer", {"node_def": {"name": "w", "op": "WriteFile"}}),
            ("TensorFlowOpLayer", {"node_def": '{"name": "w", "op": "PyFunc"}'}),
            ("TensorFlowOpLayer", {"node_def": "no JSON"}),
            ("InstanceProperty", {"cls_symbol": "Tensor", "attr_name": "__class__"}),
        ],
    )
    def test_keras_2_op_layers_outside_the_list(self, model_files, tmp_path, flag, kind, config):
        shutil.copy(model_files / "keras2.h5", tmp_path / "op.h5")
        with h5py.File(tmp_path / "op.h5", "r+") as file:
            tree = json.loads(file.attrs["model_config"])
            tree["config"]["layers"].append({"class_name": kind, "config": {"name": "odd", **config}})
            file.attrs["model_config"] = json.dumps(tree)
        with pytest.raises(tfopt.UnsafeModelError, match=f"'odd' is an? {kind} layer"):
            tfopt.load(tmp_path / "op.h5")

    @pytest.mark.parametrize(
        "reach",
        [
            lambda path: tf.io.write_file(path, "gotcha"),
            lambda path: tf.print("gotcha", output_stream=f"file://{path}"),
            lambda path: tf.raw_ops.SaveV2(prefix=path, tensor_names=["a"], shape_and_slices=[""], tensors=[tf.zeros(3)]),
            lambda path: tf.raw_ops.DebugIdentityV2(input=tf.zeros(3), debug_urls=[f"file://{path}"]),
            lambda path: tf.numpy_function(lambda: 1.0, [], tf.float64),
        ],
        ids=["write_file", "print", "save", "debug", "python"],
    )
    def test_saved_model_that_reaches_files_or_python(self, tmp_path, flag, reach):
        class Reaching(tf.Module):
            @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32)])
            def serve(self, x):
                reach(str(flag))
                return x

        module = Reaching()
        tf.saved_model.save(module, str(tmp_path / "reaching"), signatures=module.serve)
        with pytest.raises(tfopt.UnsafeModelError, match=r"runs the op `\w+`, which reaches"):
            tfopt.load(tmp_path / "reaching")


def test_reading_a_configuration_needs_no_tensorflow(model_files):
    import subprocess
    import sys

    code = "import sys; from tfopt.loading import model_file; model_file.read(sys.argv[1]); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, str(model_files / "keras2.h5")]).returncode == 0


def test_the_writers_version_is_read(model_files):
    assert model_file.read(model_files / "keras2.h5").keras_version.startswith("2.")
    assert model_file.read(model_files / "keras3.h5").keras_version == keras.__version__
    assert model_file.read(pathlib.Path(model_files / "saved_model")).kind == "saved_model"
