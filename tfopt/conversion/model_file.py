"""What a model file says of itself, read without loading it: its kind, its writer and its configuration."""

import dataclasses
import json
import pathlib
import zipfile

from tfopt.errors import LoadError


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
            raise refusal(path, "a folder without `saved_model.pb`", "Give the folder that was written by `model.export`.")
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
        raise refusal(path, "a TFLite file", "It is converted already: see `tfopt check` and `tfopt inspect`.")
    raise refusal(path, "an empty file" if not start else f"a file that starts with {start!r}", "Save the model again.")


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
        raise refusal(path, f"a damaged or foreign archive ({error})", "Save the model again.") from error
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
        raise refusal(path, f"a damaged HDF5 file ({error})", "Copy or save it again.") from error
    if config is None:
        raise refusal(
            path,
            "an HDF5 file with weights only",
            "Build the model in Python, call `model.load_weights`, and save the whole model with `model.save`.",
        )
    return _described(path, "h5", version or "", config)


def _described(path, kind, version, config):
    if not isinstance(version, str) or not isinstance(config, dict):
        raise refusal(path, "a file whose configuration is not a Keras model's", "Save the model again.")
    return ModelFile(path, kind, version, config)


def refusal(path, received, remedy):
    """The error for a file that is no readable model."""
    return LoadError(f"A Keras model (`.keras`, `.h5`, or a SavedModel folder) is required. Received: {path}, {received}. {remedy}")
