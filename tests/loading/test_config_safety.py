"""Hostile configurations are refused before anything of them runs."""

import json
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest
from config_trees import read_config, with_config

import tfopt


def writer(flag):
    # Bytecode of a function that leaves a trace on its first run, whatever it is called with.
    return eval(f"lambda x: (__import__('pathlib').Path({str(flag)!r}).touch(), x)[1]")


@pytest.mark.parametrize("name", ["lambda.h5", "lambda.keras"])
@pytest.mark.parametrize("generation", ["keras 2", "keras 3"])
def test_lambda_layer(tmp_path, flag, generation, name):
    import tf_keras

    layers, model_class = (keras.layers, keras.Sequential) if generation == "keras 3" else (tf_keras.layers, tf_keras.Sequential)
    model = model_class([layers.InputLayer((4,)), layers.Lambda(writer(flag), name="payload", output_shape=(4,))])
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
def test_gadget_in_a_config(model_files, tmp_path, flag, gadget, version):
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
    "function",
    [
        "io.write_file",
        "compat.v1.write_file",
        "py_function",
        "raw_ops.WriteFile",
        "print",
        "compat.v1.Session",
        "nn.fixed_unigram_candidate_sampler",
        "random.fixed_unigram_candidate_sampler",
    ],
)
def test_keras_2_op_layer_that_reaches_files_or_python(model_files, tmp_path, flag, function):
    shutil.copy(model_files / "keras2.h5", tmp_path / "op.h5")
    with h5py.File(tmp_path / "op.h5", "r+") as file:
        config = json.loads(file.attrs["model_config"])
        layer = {"class_name": "TFOpLambda", "config": {"name": "reaching", "function": function}}
        config["config"]["layers"].append(layer)
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(tfopt.UnsafeModelError, match=f"'reaching' calls `tf.{function}`"):
        tfopt.load(tmp_path / "op.h5")


def test_keras_2_op_layers_that_compute_are_let_through(tmp_path):
    import tensorflow as tf
    import tf_keras

    source = tf_keras.Input((4,))
    model = tf_keras.Model(source, tf.math.multiply(tf.nn.relu(source) + 1.0, 2.0)[:, 1:])
    model.save(tmp_path / "ops.h5")
    np.testing.assert_array_equal(tfopt.load(tmp_path / "ops.h5")(np.ones((1, 4), "float32")), np.full((1, 3), 4.0))


@pytest.mark.parametrize("name", ["keras2.h5", "keras3.h5", "keras3.keras"])
@pytest.mark.parametrize("kind", ["StringLookup", "TextVectorization", "IntegerLookup"])
def test_a_vocabulary_that_is_a_file_of_the_machine(model_files, tmp_path, name, kind):
    secret = tmp_path / "secret.txt"
    secret.write_text("s3cret")
    _with_layer(model_files / name, tmp_path / name, kind, {"name": "words", "vocabulary": str(secret)})
    with pytest.raises(tfopt.UnsafeModelError, match="layer 'words' reads its vocabulary from the file '.*secret.txt'"):
        tfopt.load(tmp_path / name)


@pytest.mark.parametrize("name", ["keras2.keras", "keras3.h5", "keras3.keras"])
@pytest.mark.parametrize("kind", ["TFSMLayer", "TorchModuleWrapper"])
def test_layers_that_carry_graphs_or_pickles(model_files, tmp_path, name, kind):
    _with_layer(model_files / name, tmp_path / name, kind, {"name": "carrier", "filepath": str(tmp_path)})
    with pytest.raises(tfopt.UnsafeModelError, match=f"layer 'carrier' is a {kind} layer, which runs"):
        tfopt.load(tmp_path / name)


def _with_layer(source, target, kind, config):
    """Writes a copy of a model file that has one layer more."""
    content = source.read_bytes()
    tree = read_config(content, source.suffix)
    tree["config"]["layers"].append({"module": "keras.layers", "class_name": kind, "config": config, "registered_name": None})
    target.write_bytes(with_config(content, source.suffix, json.dumps(tree)))


@pytest.mark.parametrize("kind", ["ClassMethod", "InstanceMethod", "TensorFlowOpLayer"])
def test_keras_2_layers_that_call_anything(model_files, tmp_path, flag, kind):
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
def test_keras_2_op_layers_outside_the_list(model_files, tmp_path, flag, kind, config):
    shutil.copy(model_files / "keras2.h5", tmp_path / "op.h5")
    with h5py.File(tmp_path / "op.h5", "r+") as file:
        tree = json.loads(file.attrs["model_config"])
        tree["config"]["layers"].append({"class_name": kind, "config": {"name": "odd", **config}})
        file.attrs["model_config"] = json.dumps(tree)
    with pytest.raises(tfopt.UnsafeModelError, match=f"'odd' is an? {kind} layer"):
        tfopt.load(tmp_path / "op.h5")
