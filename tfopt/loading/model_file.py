"""A model file as it lies on disk: its kind, its writer and its configuration, read without loading the model."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import zipfile
import zlib
from typing import Any, Literal

from tfopt import sizes
from tfopt.errors import LoadError
from tfopt.files import PathLike
from tfopt.loading import hdf5_probe

_WEIGHTS = "model.weights.h5"  # the member of an archive that Keras reads

Kind = Literal["keras", "h5", "weights", "saved_model"]
"""A `.keras` archive, HDF5 with an architecture, HDF5 with weights only, a SavedModel folder."""

Config = dict[str, Any]
"""A configuration as Keras writes it: JSON types, nested."""


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """What a model file says about itself.

    Attributes:
        path: of the file or folder.
        kind: found by content, not by name.
        keras_version: the writer's Keras version; "" if the file does not say.
        config: the model's configuration; None for weights and a SavedModel.
        backend: the writer's Keras backend ("tensorflow", "theano", ...); "" if the file does not say.
        held: how many numbers the arrays of the file hold.
    """

    path: pathlib.Path
    kind: Kind
    keras_version: str
    config: Config | None
    backend: str = ""
    held: int = 0

    @property
    def written_by_keras_3(self) -> bool:
        """Whether Keras 3 wrote the file."""
        return self.keras_version.startswith("3.")


def read(path: PathLike, *, allow_unsafe: bool = False, allow_large: bool = False) -> ModelFile:
    """Reads what the file at `path` says about itself.

    Example: `read("model.h5").keras_version`

    Args:
        path: of a `.keras` or `.h5` file or of a SavedModel folder.
        allow_unsafe: whether weights may be in other files.
        allow_large: whether the content of the file may take any memory.

    Raises:
        LoadError: the file is missing, empty, truncated, without an architecture, too large, or no model.
        UnsafeModelError: weights are in another file.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise refusal(path, "a folder without `saved_model.pb`", "Give the folder that `model.export` wrote.")
        return ModelFile(path, "saved_model", "", None)
    try:
        with open(path, "rb") as file:
            start = file.read(8)
    except OSError as error:
        raise LoadError(f"The model file must be readable. Received: {path} ({error.strerror}). Check the path.") from error
    if start.startswith(b"PK\x03\x04"):
        return _read_keras(path, allow_unsafe=allow_unsafe, allow_large=allow_large)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return _read_h5(path, allow_unsafe=allow_unsafe, allow_large=allow_large)
    if start[4:8] == b"TFL3":
        raise refusal(path, "a TFLite file", "It is converted already: see `tfopt check` and `tfopt inspect`.")
    if start.startswith(b"\x93NUMPY"):
        raise refusal(path, "a NumPy array and not a model", "Give arrays as data: see --calibrate, --validate and --data.")
    raise refusal(path, "an empty file" if not start else f"a file that starts with {start!r}", "Save the model again.")


def _read_keras(path: pathlib.Path, *, allow_unsafe: bool, allow_large: bool) -> ModelFile:
    try:
        with zipfile.ZipFile(path) as archive:
            _require_room(path, archive, allow_large=allow_large)
            config = json.loads(archive.read("config.json"))
            version = json.loads(archive.read("metadata.json"))["keras_version"]
            has_weights = _WEIGHTS in archive.namelist()
    except (
        zipfile.BadZipFile, zlib.error, KeyError, ValueError, OSError, EOFError, TypeError, NotImplementedError, RuntimeError,
    ) as error:  # fmt: skip
        raise refusal(path, f"a damaged or foreign archive ({error})", "Save the model again.") from error
    _require_model(path, version, config)
    held: int | None = 0
    if has_weights:
        held = hdf5_probe.count_numbers(path, _WEIGHTS, allow_unsafe=allow_unsafe, allow_large=allow_large)
    if held is None:
        raise refusal(path, "an archive with damaged weights, which cannot be read to their end", "Copy or save it again.")
    return ModelFile(path, "keras", version, config, held=held)


def _require_room(path: pathlib.Path, archive: zipfile.ZipFile, *, allow_large: bool) -> None:
    """Raises an error if the members of an archive take more memory than they should when they are read."""
    stored = path.stat().st_size
    for member in archive.infolist():
        size = sizes.json_room(member.file_size) if member.filename.endswith(".json") else member.file_size
        sizes.require_room(size, stored, f"the member {member.filename!r}", allow_large=allow_large, path=path)
    total = sum(member.file_size for member in archive.infolist())
    sizes.require_room(total, stored, "all members together", allow_large=allow_large, path=path)


def _read_h5(path: pathlib.Path, *, allow_unsafe: bool, allow_large: bool) -> ModelFile:
    import h5py

    held = hdf5_probe.count_numbers(path, allow_unsafe=allow_unsafe, allow_large=allow_large)
    if held is None:
        raise refusal(path, "a damaged HDF5 file, which cannot be read to its end", "Copy or save it again.")
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
            if config is not None:
                needed, stored = sizes.json_room(len(config)), path.stat().st_size
                sizes.require_room(needed, stored, "the configuration", allow_large=allow_large, path=path)
                config = json.loads(config)
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, MemoryError) as error:
        raise refusal(path, f"a damaged HDF5 file ({error})", "Copy or save it again.") from error
    if config is None:
        return ModelFile(path, "weights", str(found["keras_version"]), None, str(found["backend"]))
    _require_model(path, found["keras_version"], config)
    return ModelFile(path, "h5", found["keras_version"], config, str(found["backend"]), held)


def _require_model(path: pathlib.Path, version: object, config: object) -> None:
    if not isinstance(version, str) or not isinstance(config, dict):
        raise refusal(path, "a file whose configuration is not that of a Keras model", "Save the model again.")


def refusal(path: pathlib.Path, received: str, remedy: str) -> LoadError:
    """The error for a file that is no readable model.

    Args:
        path: of the file or folder.
        received: the kind of file, a phrase.
        remedy: a sentence.
    """
    return LoadError(f"A Keras model (`.keras`, `.h5`, or a SavedModel folder) is required. Received: {path}, {received}. {remedy}")


def require_layers(model: Any) -> None:
    """Raises `TypeError` if a configuration made something else than a model: one layer, or a dict where it lost its class."""
    if not hasattr(model, "layers"):
        raise TypeError(f"the configuration makes a {type(model).__name__} and no model")


def unreadable(found: ModelFile, error: Exception) -> LoadError:
    """The error for a file that Keras refuses to read with `error`."""
    way_out = "Give custom classes and functions with --custom-objects FILE.py (Python: custom_objects={...})."
    if "variables during loading" in str(error):  # Keras 3.15 forgets, in the file, that it quantized layers inside other layers
        way_out += " If the model was quantized by `model.quantize(...)`, convert it in memory, or save it before it is quantized."
    return LoadError(
        f"The model file must be readable by Keras. Received: {found.path}, written by Keras {found.keras_version or '(unknown)'}: "
        f"{first_lines(error)} {way_out}"
    )


def first_lines(error: Exception, limit: int = 400) -> str:
    """The text of an error as one line of at most `limit` characters."""
    # Keras wraps one error in another; the innermost, last one is the cause.
    text = " ".join(str(error).rpartition("Exception encountered:")[2].split()) or type(error).__name__
    return text if len(text) <= limit else f"{text[:limit]} ..."
