"""What a model file says of itself, read without loading it: its kind, its writer and its configuration."""

import contextlib
import dataclasses
import json
import pathlib
import resource
import zipfile

from tfopt import errors, isolation
from tfopt.errors import LoadError
from tfopt.progress import Progress
from tfopt.request import Request

PROBE_SECONDS = 10  # of CPU time that reading a small file may take
_SLOWEST = 5e6  # bytes a second that any CPU reads


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """A model file as it lies on disk.

    Attributes:
        path: pathlib.Path.
        kind: "keras" (zip archive), "h5", "weights" (HDF5 without an architecture) or "saved_model".
        keras_version: str, the writer's Keras version; "" where the file does not say.
        config: dict, the model's configuration; None for weights and a SavedModel.
        backend: str, what the writer computed with ("tensorflow", "theano", ...); "" where the file does not say.
    """

    path: pathlib.Path
    kind: str
    keras_version: str
    config: dict | None
    backend: str = ""

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
            for registered in (node.get("registered_name"), node.get("class_name")):
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

    _probe_h5(path)
    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
            weights = file.get("model_weights")
            found = {}
            for name in ("keras_version", "backend"):
                value = file.attrs.get(name)
                if value is None and weights is not None:
                    value = weights.attrs.get(name)
                found[name] = value.decode() if isinstance(value, bytes) else value or ""
            config = None if config is None else json.loads(config)
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise refusal(path, f"a damaged HDF5 file ({error})", "Copy or save it again.") from error
    if config is None:
        return ModelFile(path, "weights", str(found["keras_version"]), None, str(found["backend"]))
    return _described(path, "h5", found["keras_version"], config, str(found["backend"]))


def _probe_h5(path):
    """Reads all of a file in a process of its own first: in a damaged one, HDF5 may loop for ever or crash."""
    seconds = int(PROBE_SECONDS + path.stat().st_size / _SLOWEST)
    request = ReadRequest(str(path.resolve()), seconds)
    try:
        isolation.run("tfopt.loading.model_file:read_all_h5", request, timeout=3 * seconds)
    except errors.ConversionError as error:
        raise refusal(path, "a damaged HDF5 file, which cannot be read to its end", "Copy or save it again.") from error


@dataclasses.dataclass(frozen=True)
class ReadRequest(Request):
    """The path of a file that is read to its end in a child process, and the seconds of CPU time that it may take."""

    path: str
    seconds: int


def read_all_h5(request: str, progress: Progress) -> None:
    """Reads every attribute and every array of a file, in a child process. Its later reader reports unreadable parts.

    Args:
        request: a `ReadRequest` as JSON.
        progress: is not called.
    """
    import h5py

    asked = ReadRequest.from_json(request)

    # A loop in C listens to nobody: the kernel ends it, even if the parent is gone.
    resource.setrlimit(resource.RLIMIT_CPU, (asked.seconds, asked.seconds))

    def visit(name, item):
        _attempt(lambda: [item.attrs.get(key) for key in item.attrs])
        if isinstance(item, h5py.Dataset):
            _attempt(lambda: item[()])

    def read():
        with h5py.File(asked.path, "r") as file:
            visit("", file)
            file.visititems(visit)

    _attempt(read)


def _attempt(read):
    with contextlib.suppress(OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, MemoryError):
        read()


def _described(path, kind, version, config, backend=""):
    if not isinstance(version, str) or not isinstance(config, dict):
        raise refusal(path, "a file whose configuration is not a Keras model's", "Save the model again.")
    return ModelFile(path, kind, version, config, backend)


def refusal(path, received, remedy):
    """The error for a file that is no readable model."""
    return LoadError(f"A Keras model (`.keras`, `.h5`, or a SavedModel folder) is required. Received: {path}, {received}. {remedy}")


def unreadable(found, error):
    """The error for a file that Keras refuses."""
    return LoadError(
        f"The model file must be readable by Keras. Received: {found.path}, written by Keras {found.keras_version or '(unknown)'}: "
        f"{first_lines(error)} Custom classes and functions are given with --custom-objects FILE.py "
        "(Python: custom_objects={...})."
    )


def first_lines(error, limit=400):
    """What an error says, in one line that is not too long."""
    # Keras wraps one error in another; the innermost, last one is the cause.
    text = " ".join(str(error).rpartition("Exception encountered:")[2].split()) or type(error).__name__
    return text if len(text) <= limit else f"{text[:limit]} ..."
