"""What a model file says of itself, read without loading it: kind, writer, configuration, and code that hides in it."""

import builtins
import dataclasses
import json
import pathlib
import zipfile

from tfopt.errors import LoadError, UnsafeModelError

# Modules that Keras writes for its own objects. Anything else is imported only if the caller gave the class.
_KERAS_MODULES = {"keras", "tf_keras", "builtins"}
# The only Keras modules whose *functions* belong in a model. `keras.utils` alone would offer file downloads.
_FUNCTION_MODULES = {"builtins", "activations", "initializers", "losses", "metrics", "ops", "constraints", "regularizers"}
# Python's own functions, as `exec`, would pass for Keras functions of the module "builtins".
_PYTHON_FUNCTIONS = set(dir(builtins))
# What a Keras 2 `TFOpLambda` layer may name: functions of these modules of TensorFlow, and top-level ones but those that touch
# files or run Python.
_COMPUTING_MODULES = {"__operators__", "bitwise", "dtypes", "image", "linalg", "math", "nn", "quantization", "ragged", "random"}
_COMPUTING_MODULES |= {"sets", "signal", "sparse", "strings"}
_FORBIDDEN_FUNCTIONS = {"py_function", "py_func", "numpy_function", "print", "Print", "read_file", "write_file", "matching_files"}
_FORBIDDEN_FUNCTIONS |= {"load_library", "load_op_library", "load_file_system_library"}
# Ops with which a SavedModel's graph reads or writes files or calls Python when it runs.
_FORBIDDEN_OPS = {"ReadFile", "WriteFile", "PyFunc", "PyFuncStateless", "EagerPyFunc", "MatchingFiles"}


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """A model file as it lies on disk.

    Attributes:
        path: pathlib.Path.
        kind: "keras" (zip archive), "h5" or "saved_model".
        keras_version: str, the writer's Keras version; "" where the file does not say.
        config: dict, the model's configuration; None for a SavedModel.
    """

    path: pathlib.Path
    kind: str
    keras_version: str
    config: dict | None

    @property
    def written_by_keras_3(self):
        return self.keras_version.startswith("3.")


def read(path):
    """Finds out by content, not by name, what the file at `path` is.

    Args:
        path: str or path of a `.keras` or `.h5` file or of a SavedModel folder.

    Returns:
        A `ModelFile`.

    Raises:
        LoadError: the file is missing, empty, truncated, without an architecture, or no model at all.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise _refusal(path, "a folder without `saved_model.pb`", "Give the folder that was written by `model.export`.")
        return ModelFile(path, "saved_model", "", None)
    try:
        with open(path, "rb") as file:
            start = file.read(8)
    except OSError as error:
        raise LoadError(f"The model file must be readable. Received: {path} ({error.strerror}). Check the path.") from error
    if start.startswith(b"PK\x03\x04"):
        return _read_keras(path)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return _read_h5(path)
    if start[4:8] == b"TFL3":
        raise _refusal(path, "a TFLite file", "It is converted already: see `tfopt check` and `tfopt inspect`.")
    raise _refusal(path, "an empty file" if not start else f"a file that starts with {start!r}", "Save the model again.")


def require_safe(model_file, *, custom_objects=()):
    """Raises if loading the file would run code that came with it, or import a module that it names.

    Args:
        model_file: a `ModelFile`.
        custom_objects: names of classes and functions that the caller gave.

    Raises:
        UnsafeModelError: a layer holds Python bytecode, or asks for a function that no model needs.
        LoadError: a layer needs a class or function that the caller did not give.
    """
    if model_file.kind == "saved_model":
        _require_safe_graph(model_file.path)
        return
    try:
        _require_safe_config(model_file.config, model_file.path, set(custom_objects), layer="")
    except RecursionError as error:
        raise _refusal(model_file.path, "a configuration that is nested too deeply", "Save the model again.") from error


def add_registered_names(config, custom_objects):
    """Adds to `custom_objects` the names under which the file knows them, as `package>Name` for a plain `Name`."""
    found = dict(custom_objects)

    def walk(node):
        if isinstance(node, dict):
            registered = node.get("registered_name")
            if isinstance(registered, str) and registered.rpartition(">")[2] in custom_objects:
                found[registered] = custom_objects[registered.rpartition(">")[2]]
        for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            walk(item)

    walk(config)
    return found


def _read_keras(path):
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
            version = json.loads(archive.read("metadata.json"))["keras_version"]
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError, TypeError, NotImplementedError, RecursionError) as error:
        raise _refusal(path, f"a damaged or foreign archive ({error})", "Save the model again.") from error
    return _described(path, "keras", version, config)


def _read_h5(path):
    import h5py

    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
            weights = file.get("model_weights")
            version = file.attrs.get("keras_version")
            if version is None and weights is not None:
                version = weights.attrs.get("keras_version")
            config = None if config is None else json.loads(config)
            version = version.decode() if isinstance(version, bytes) else version
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise _refusal(path, f"a damaged HDF5 file ({error})", "Copy or save it again.") from error
    if config is None:
        raise _refusal(
            path,
            "an HDF5 file with weights only",
            "Build the model in Python, call `model.load_weights`, and save the whole model with `model.save`.",
        )
    return _described(path, "h5", version or "", config)


def _described(path, kind, version, config):
    if not isinstance(version, str) or not isinstance(config, dict):
        raise _refusal(path, "a file whose configuration is not a Keras model's", "Save the model again.")
    return ModelFile(path, kind, version, config)


def _require_safe_config(node, path, given, layer):
    if isinstance(node, list):
        for item in node:
            _require_safe_config(item, path, given, layer)
    if not isinstance(node, dict):
        return
    kind, config = node.get("class_name"), node.get("config")
    if isinstance(config, dict) and isinstance(config.get("name"), str):
        layer = config["name"]
    if kind == "__lambda__":
        raise _unsafe(path, layer, "holds Python bytecode")
    if kind == "Lambda" and isinstance(config, dict) and not _is_given(config.get("function"), given):
        if isinstance(config.get("function"), str) and config.get("function_type") != "lambda":
            raise _missing(path, layer, config["function"])
        raise _unsafe(path, layer, "holds Python bytecode")
    if kind in ("TFOpLambda", "SlicingOpLambda") and isinstance(config, dict):
        name = str(config.get("function", "__operators__"))
        if not _computes(name):
            raise _unsafe(path, layer, f"calls `tf.{name}`, which can reach files or Python")
    module = node.get("module")
    if isinstance(kind, str) and isinstance(module, str):
        _require_known(node, path, given, layer)
    for item in node.values():
        _require_safe_config(item, path, given, layer)


def _require_known(node, path, given, layer):
    is_function = node["class_name"] == "function"
    name = node["config"] if is_function else node["class_name"]
    # The name that Keras looks up among the given objects before it imports anything.
    if _is_given(name if is_function else node.get("registered_name") or name, given):
        return
    root, _, rest = node["module"].partition(".")
    if root not in _KERAS_MODULES:
        raise _missing(path, layer, f"{node['module']}.{name}")
    if is_function and (not {root, *rest.split(".")} & _FUNCTION_MODULES or name in _PYTHON_FUNCTIONS):
        raise _unsafe(path, layer, f"calls `{node['module']}.{name}`, which no model needs")


def _computes(function):
    """Whether a TensorFlow function, by its exported name, only computes."""
    parts = function.removeprefix("compat.v1.").removeprefix("compat.v2.").split(".")
    return parts[0] in _COMPUTING_MODULES if len(parts) > 1 else parts[0] not in _FORBIDDEN_FUNCTIONS


def _is_given(name, given):
    return isinstance(name, str) and (name in given or name.rpartition(">")[2] in given)


def _require_safe_graph(folder):
    from tensorflow.core.protobuf import saved_model_pb2

    saved_model = saved_model_pb2.SavedModel()
    try:
        saved_model.ParseFromString((folder / "saved_model.pb").read_bytes())
    except Exception as error:  # protobuf's DecodeError is not part of its public interface
        raise _refusal(folder, f"a SavedModel that cannot be parsed ({error})", "Export the model again.") from error
    for graph in saved_model.meta_graphs:
        functions = graph.graph_def.library.function
        for node in (*graph.graph_def.node, *(node for function in functions for node in function.node_def)):
            if node.op in _FORBIDDEN_OPS:
                raise _unsafe(folder, node.name, f"runs the op `{node.op}`, which reaches files or Python")


def _refusal(path, received, remedy):
    return LoadError(f"A Keras model (`.keras`, `.h5`, or a SavedModel folder) is required. Received: {path}, {received}. {remedy}")


def _unsafe(path, layer, what):
    return UnsafeModelError(
        f"A model file must not bring its own code. Received: {path}, whose layer {layer!r} {what}; nothing of it was run. "
        "If you trust who wrote it, allow it with --allow-unsafe (Python: allow_unsafe=True)."
    )


def _missing(path, layer, name):
    return LoadError(
        f"Every class and function in the model must be known. Received: {path}, whose layer {layer!r} needs {name!r}. "
        "Give it with --custom-objects FILE.py (Python: custom_objects={...})."
    )
