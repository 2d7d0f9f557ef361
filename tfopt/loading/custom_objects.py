"""Names of classes and functions that a model file needs and a user gives."""

import importlib.util
import inspect
import pathlib
import sys
from collections.abc import Mapping

from tfopt.errors import LoadError
from tfopt.keras2 import door


def by_name(custom_objects):
    """The custom objects that the caller gave, by name.

    Args:
        custom_objects: None, a dict of name -> class or function, or the path of a Python file, which is run.

    Returns:
        A new dict of str -> class or function.

    Raises:
        LoadError: the file is missing, no Python, or raises an error.
    """
    if custom_objects is None or isinstance(custom_objects, Mapping):
        return dict(custom_objects or {})
    return _read(pathlib.Path(custom_objects))


def _read(path):
    """Runs the Python file at `path` and returns the classes and functions that it defines, by name.

    Args:
        path: pathlib.Path of a `.py` file. It may import modules that lie beside it.

    Returns:
        dict of str -> class or function, and what a dict named `custom_objects` in the file adds.
    """
    if not path.is_file():
        raise LoadError(f"`custom_objects` must be a dict or a Python file. Received: {path}. Check the path.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None:
        raise LoadError(f"`custom_objects` must be a dict or a Python file. Received: {path}. Name it `something.py`.")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise LoadError(f"The custom objects file must run. Received: {path}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.resolve().parent))
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


def registered_names(found):
    if not found.written_by_keras_3:
        return door.registered_names()
    import keras

    from tfopt.quantization import quantized_model  # noqa: F401 - what `quantize_aware` adds to a model registers itself

    return set(keras.saving.get_custom_objects())
