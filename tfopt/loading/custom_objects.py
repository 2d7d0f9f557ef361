"""Classes and functions that a model file needs and the caller gives, by name."""

from __future__ import annotations

import inspect
import pathlib
from collections.abc import Mapping
from typing import Any

from tfopt.errors import LoadError
from tfopt.keras2 import door
from tfopt.loading import python_file
from tfopt.loading.model_file import Config, ModelFile
from tfopt.loading.options import CustomObjects


def by_name(custom_objects: CustomObjects) -> dict[str, Any]:
    """Gathers the custom objects that the caller gave.

    Example: `by_name("my_layers.py")` -> {"Swish2": <class 'Swish2'>}

    Args:
        custom_objects: as for `load`; a Python file is run.

    Returns:
        A new dict of name -> class or function.

    Raises:
        LoadError: the file is missing, is not Python, or raises an error.
    """
    if custom_objects is None or isinstance(custom_objects, Mapping):
        return dict(custom_objects or {})
    return _run(pathlib.Path(custom_objects))


def _run(path: pathlib.Path) -> dict[str, Any]:
    """The classes and functions that a Python file defines, and those in its dict `custom_objects`."""
    if not path.is_file():
        raise LoadError(f"`custom_objects` must be a dict or a Python file. Received: {path}. Check the path.")
    try:
        module = python_file.run(path)
    except Exception as error:
        raise LoadError(
            f"The custom objects file must be Python that runs. Received: {path}: {type(error).__name__}: {error}. "
            "Run it with `python FILE.py` to see where it fails."
        ) from error
    found = {
        name: value
        for name, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == path.stem
    }
    added = getattr(module, "custom_objects", {})
    if not (isinstance(added, dict) and all(isinstance(name, str) and callable(value) for name, value in added.items())):
        raise LoadError(
            f"`custom_objects` in the custom objects file must be a dict of name -> class or function. Received: {path} with "
            f'{added!r}. Write it as custom_objects = {{"<lambda>": my_function}}.'
        )
    return found | added


def registered_names(found: ModelFile) -> set[str]:
    """Names of the classes and functions that the Keras of the file's generation knows by registration."""
    if not found.written_by_keras_3:
        return door.registered_names()
    import keras

    from tfopt.quantization import quantized_model  # noqa: F401 - registers the classes that `quantize_aware` adds to a model

    return set(keras.saving.get_custom_objects())


def add_registered_names(config: Config | None, custom_objects: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the names that a file has for the custom objects, as "package>Name" for a plain "Name".

    Args:
        config: the file's configuration.
        custom_objects: class or function by name.

    Returns:
        A new dict of name -> class or function.
    """
    found = dict(custom_objects)

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            for registered in (node.get("registered_name"), node.get("class_name")):
                if isinstance(registered, str) and registered.rpartition(">")[2] in custom_objects:
                    found[registered] = custom_objects[registered.rpartition(">")[2]]
        for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            walk(item)

    walk(config)
    return found
