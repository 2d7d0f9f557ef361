"""Graphs that could do more than compute are refused before they run."""

import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2
from tensorflow.core.protobuf import saved_model_pb2

import tfopt
from tfopt.loading import config_safety
from tfopt.loading.graph.allowed import ALLOWED
from tfopt.loading.graph.refused import REFUSED


def export(folder, reach, **parts):
    """A SavedModel whose function calls `reach` with the module, and returns its input; `parts` become parts of the module."""

    class Reaching(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")])
        def serve(self, x):
            found = reach(self)
            return x if found is None else x + tf.cast(tf.reshape(found, (-1,))[:1], tf.float32)

    module = Reaching()
    for name, part in parts.items():
        setattr(module, name, part)
    tf.saved_model.save(module, str(folder), signatures=module.serve)
    return folder


def edit(folder, change):
    """Changes the graph of a SavedModel."""
    content = saved_model_pb2.SavedModel()
    content.ParseFromString((folder / "saved_model.pb").read_bytes())
    change(content.meta_graphs[0])
    (folder / "saved_model.pb").write_bytes(content.SerializeToString())


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.txt"
    path.write_text("s3cret\n")
    return path


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("a\nb\nc\n")
    return path


def table(path):
    place = tf.lookup.TextFileIndex
    initializer = tf.lookup.TextFileInitializer(str(path), tf.string, place.WHOLE_LINE, tf.int64, place.LINE_NUMBER)
    return tf.lookup.StaticHashTable(initializer, -1)


def look_up(module):
    return module.table.lookup(tf.constant(["b"]))


def test_every_operation_of_tensorflow_is_allowed_or_refused_for_a_reason():
    known = {name for name in dir(tf.raw_ops) if name[0].isupper()}
    assert len(known) > 1000
    unknown = sorted(known - ALLOWED - set(REFUSED))
    assert not unknown, f"say in tfopt/loading/graph whether they do nothing but compute: {unknown}"
    assert not ALLOWED & set(REFUSED)
    assert all(REFUSED.values())


def test_layers_of_operations_may_run_allowed_operations_alone():
    assert set(config_safety._COMPUTING_OPS.split()) <= ALLOWED


@pytest.mark.parametrize(
    "reach",
    [
        lambda path: tf.io.write_file(path, "gotcha"),
        lambda path: tf.print("gotcha", output_stream=f"file://{path}"),
        lambda path: tf.raw_ops.SaveV2(prefix=path, tensor_names=["a"], shape_and_slices=[""], tensors=[tf.zeros(3)]),
        lambda path: tf.raw_ops.DebugIdentityV2(input=tf.zeros(3), debug_urls=[f"file://{path}"]),
        lambda path: tf.numpy_function(lambda: 1.0, [], tf.float64),
        lambda path: tf.raw_ops.Abort(error_msg="gotcha"),
    ],
    ids=["write_file", "print", "save", "debug", "python", "abort"],
)
def test_graphs_that_write_or_run_python(tmp_path, flag, reach):
    def run(module):
        reach(str(flag))

    export(tmp_path / "reaching", run)
    with pytest.raises(tfopt.UnsafeModelError, match=r"the operation `\w+` \(node '.*'\), which .*--allow-unsafe.*may then do"):
        tfopt.load(tmp_path / "reaching")


@pytest.mark.parametrize("depth", ["function", "nested", "branch", "loop", "case"])
@pytest.mark.parametrize(
    "read",
    [
        lambda path: tf.raw_ops.ImmutableConst(dtype=tf.uint8, shape=[6], memory_region_name=path),
        lambda path: tf.io.decode_raw(tf.io.read_file(path), tf.uint8),
        lambda path: tf.raw_ops.RestoreV2(prefix=path, tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32])[0],
    ],
    ids=["ImmutableConst", "ReadFile", "RestoreV2"],
)
def test_graphs_that_read_files_in_any_function(tmp_path, secret, read, depth):
    def reach(module):
        inner = tf.function(lambda: tf.cast(tf.reshape(read(str(secret)), (-1,)), tf.float32))
        if depth == "function":
            return read(str(secret))
        if depth == "nested":
            return tf.function(lambda: inner())()
        if depth == "branch":
            return tf.cond(tf.random.uniform(()) < 2, inner, lambda: tf.zeros(1))
        if depth == "case":
            return tf.switch_case(tf.cast(tf.random.uniform(()), tf.int32), [inner, lambda: tf.zeros(1)])
        return tf.while_loop(lambda i: i < 1, lambda i: i + tf.cast(inner()[0], tf.int32) * 0 + 1, [0])[0]

    export(tmp_path / "reading", reach)
    with pytest.raises(tfopt.UnsafeModelError, match="runs the operation `.*which reads or writes"):
        tfopt.load(tmp_path / "reading")


def test_what_a_refused_graph_would_do_is_what_allow_unsafe_lets_it_do(tmp_path, secret):
    folder = export(tmp_path / "reading", lambda module: tf.io.decode_raw(tf.io.read_file(str(secret)), tf.uint8))
    model = tfopt.load(folder, allow_unsafe=True)
    assert float(next(iter(model(np.zeros((1, 4), "float32")).values()))[0, 0]) == ord("s")


def test_a_function_with_the_name_of_an_operation_does_not_hide_it(tmp_path, secret):
    folder = export(tmp_path / "reading", lambda module: tf.io.decode_raw(tf.io.read_file(str(secret)), tf.uint8))

    def hide(meta):
        meta.graph_def.library.function.add().signature.name = "ReadFile"

    edit(folder, hide)
    with pytest.raises(tfopt.UnsafeModelError, match="`ReadFile`"):
        tfopt.load(folder)


def test_an_operation_that_nobody_knows_is_refused(tmp_path):
    folder = export(tmp_path / "unknown", lambda module: None)

    def rename(meta):
        meta.graph_def.library.function[0].node_def.add(name="new", op="ReadTheMind")

    edit(folder, rename)
    with pytest.raises(tfopt.UnsafeModelError, match="`ReadTheMind` .*is not known to do nothing but compute"):
        tfopt.load(folder)


def test_a_constant_that_is_a_handle_is_refused(tmp_path):
    folder = export(tmp_path / "handle", lambda module: None)

    def plant(meta):
        node = meta.graph_def.library.function[0].node_def.add(name="handle", op="Const")
        node.attr["value"].tensor.dtype = tf.resource.as_datatype_enum
        node.attr["value"].tensor.resource_handle_val.add(container="localhost", name="anothers")

    edit(folder, plant)
    with pytest.raises(tfopt.UnsafeModelError, match="`Const` .*holds the handle of an object"):
        tfopt.load(folder)


def test_a_vocabulary_in_the_models_own_assets_is_read(tmp_path, words):
    folder = export(tmp_path / "words", look_up, table=table(words))
    words.unlink()
    np.testing.assert_array_equal(next(iter(tfopt.load(folder)(np.zeros((1, 4), "float32")).values())), np.ones((1, 4)))


@pytest.mark.parametrize("name", ["../../secret.txt", "{secret}", "words.txt/../../../secret.txt"])
def test_an_asset_outside_of_the_folder_is_refused(tmp_path, words, secret, name):
    folder = export(tmp_path / "words", look_up, table=table(words))

    def point(meta):
        meta.asset_file_def[0].filename = name.format(secret=secret)

    edit(folder, point)
    with pytest.raises(tfopt.UnsafeModelError, match="asset .* is a file outside of its folder `assets`"):
        tfopt.load(folder)


@pytest.mark.parametrize("link", ["file", "folder"])
def test_an_asset_that_is_a_link_out_of_the_folder_is_refused(tmp_path, words, secret, link):
    folder = export(tmp_path / "words", look_up, table=table(words))
    if link == "file":
        (folder / "assets" / "words.txt").unlink()
        (folder / "assets" / "words.txt").symlink_to(secret)
    else:
        shutil.move(folder / "assets", tmp_path / "elsewhere")
        (folder / "assets").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(tfopt.UnsafeModelError, match="outside of its folder `assets`"):
        tfopt.load(folder)


def test_a_vocabulary_under_a_constant_path_is_refused(tmp_path, secret):
    def reach(module):
        handle = tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
        tf.raw_ops.InitializeTableFromTextFileV2(table_handle=handle, filename=str(secret), key_index=-2, value_index=-1)

    folder = export(tmp_path / "words", reach)
    with pytest.raises(tfopt.UnsafeModelError, match="InitializeTableFromTextFileV2.*not one of the model's own assets"):
        tfopt.load(folder)


@pytest.mark.parametrize("way", ["constant", "caller"])
def test_the_initializer_of_a_table_gets_no_other_path(tmp_path, words, secret, way):
    folder = export(tmp_path / "words", look_up, table=table(words))

    def divert(meta):
        library = meta.graph_def.library.function
        initializer = next(each for each in library if any("TextFile" in node.op for node in each.node_def))
        if way == "constant":  # the object that is bound to the path becomes a constant
            bound = meta.object_graph_def.concrete_functions[initializer.signature.name].bound_inputs
            paths = [each for each in bound if meta.object_graph_def.nodes[each].WhichOneof("kind") == "asset"]
            meta.object_graph_def.nodes[paths[0]].constant.operation = "Const"
        else:
            caller = next(each for each in library if each is not initializer)
            path = caller.node_def.add(name="path", op="Const")
            path.attr["value"].tensor.string_val.append(str(secret).encode())
            path.attr["value"].tensor.dtype = tf.string.as_datatype_enum
            call = caller.node_def.add(name="call", op="StatefulPartitionedCall", input=["path:output:0", "path:output:0"])
            call.attr["f"].CopyFrom(attr_value_pb2.AttrValue(func=attr_value_pb2.NameAttrList(name=initializer.signature.name)))

    edit(folder, divert)
    with pytest.raises(tfopt.UnsafeModelError, match="not one of the model's own assets"):
        tfopt.load(folder)


def test_checkpoints_are_read_where_the_model_cannot_do_so(tmp_path):
    """The functions that save and restore stay; one that the model could call does not."""
    folder = export(tmp_path / "plain", lambda module: module.weight, weight=tf.Variable([2.0]))
    assert "RestoreV2" in (folder / "saved_model.pb").read_bytes().decode("latin1")
    assert float(next(iter(tfopt.load(folder)(np.zeros((1, 4), "float32")).values()))[0, 0]) == 2

    def call(meta):
        restore = next(each for each in meta.graph_def.library.function if "traced_restore" in each.signature.name)
        caller = next(each for each in meta.graph_def.library.function if "traced" not in each.signature.name)
        node = caller.node_def.add(name="call", op="StatefulPartitionedCall")
        node.attr["f"].func.name = restore.signature.name

    edit(folder, call)
    with pytest.raises(tfopt.UnsafeModelError, match="reads or writes checkpoints"):
        tfopt.load(folder)


def test_a_graph_without_objects_is_checked_as_well(tmp_path, secret):
    """TensorFlow 1 runs the graph itself."""
    folder = export(tmp_path / "old", lambda module: None)

    def age(meta):
        meta.ClearField("object_graph_def")
        node = meta.graph_def.node.add(name="gotcha", op="ReadFile", input=["gotcha/path"])
        meta.graph_def.node.add(name="gotcha/path", op="Const").attr["value"].tensor.string_val.append(str(secret).encode())
        node.device = ""

    edit(folder, age)
    with pytest.raises(tfopt.UnsafeModelError):
        tfopt.load(folder)


def test_a_saved_model_that_keras_2_adapted_is_loaded(tmp_path):
    """It holds the step that adapted it, which takes an iterator as argument."""
    import tf_keras

    layer = tf_keras.layers.Normalization()
    layer.adapt(np.arange(12, dtype="float32").reshape(4, 3))
    model = tf_keras.Sequential([tf_keras.layers.InputLayer((3,)), layer, tf_keras.layers.Dense(2)])
    model.save(tmp_path / "adapted", save_format="tf")
    assert b"IteratorGetNext" in (tmp_path / "adapted" / "saved_model.pb").read_bytes()
    values = np.ones((1, 3), "float32")
    np.testing.assert_allclose(next(iter(tfopt.load(tmp_path / "adapted")(values).values())), model(values), rtol=1e-5)


@pytest.mark.parametrize("what", ["constants", "variables"])
def test_tensors_that_grow_are_refused(tmp_path, what):
    folder = export(tmp_path / "large", lambda module: module.weight, weight=tf.Variable([2.0]))

    def grow(meta):
        if what == "variables":
            node = next(node for node in meta.object_graph_def.nodes if node.WhichOneof("kind") == "variable")
            node.variable.shape.dim[0].size = 10**10
        else:
            tensor = meta.graph_def.library.function[0].node_def.add(name="large", op="Const").attr["value"].tensor
            tensor.dtype = tf.float32.as_datatype_enum
            tensor.tensor_shape.dim.add(size=10**10)
            tensor.float_val.append(1.0)

    edit(folder, grow)
    with pytest.raises(tfopt.LoadError, match=f"the {what}.* takes 37.3 GiB, stored in .*--allow-large"):
        tfopt.load(folder)


def test_the_command_line_refuses_with_exit_code_2(run_cli, tmp_path, secret):
    folder = export(tmp_path / "reading", lambda module: tf.io.decode_raw(tf.io.read_file(str(secret)), tf.uint8))
    finished = run_cli("inspect", str(pathlib.Path(folder)))
    assert finished.returncode == 2 and "`ReadFile`" in finished.stderr and "--allow-unsafe" in finished.stderr
