"""The architecture of a file that holds only weights: a function of the user's that builds the model."""

import importlib
import importlib.util
import pathlib
import sys

from tfopt.errors import LoadError


def build(architecture):
    """Calls the function that builds a model.

    Args:
        architecture: "module:function", "path/to/file.py:function", or a function without arguments.

    Returns:
        A Keras 3 or Keras 2 model, built.

    Raises:
        LoadError: there is no such module or function, it fails, or it gives no model with weights.
    """
    function, name = architecture, getattr(architecture, "__name__", "a function")
    if isinstance(architecture, str):
        function, name = _function(architecture), architecture
    if not callable(function):
        raise LoadError(f"`architecture` must be MODULE:FUNCTION or a function. Received: {architecture!r}. {_EXAMPLE}")
    try:
        model = function()
    except Exception as error:
        raise LoadError(
            f"The architecture must be a function that runs without arguments. Received: {name}, which raised "
            f"{type(error).__name__}: {error}. {_EXAMPLE}"
        ) from error
    if not hasattr(model, "layers") or not hasattr(model, "get_weights"):
        raise LoadError(f"The architecture must give a Keras model. Received: {type(model).__name__} from {name}. {_EXAMPLE}")
    if not model.weights:
        raise LoadError(
            f"The architecture must give a model that is built. Received: {name}, whose model has no weights. "
            "Begin it with an Input, or call it once before it is returned."
        )
    return model


def _function(text):
    place, colon, name = text.rpartition(":")
    if not (colon and place and name):
        raise LoadError(f"`architecture` must be MODULE:FUNCTION. Received: {text!r}. {_EXAMPLE}")
    is_file = place.endswith(".py")
    path = pathlib.Path(place)
    if is_file and not path.is_file():
        raise LoadError(f"The architecture's file must exist. Received: {place}. Check the path.")
    folder = str(path.resolve().parent if is_file else pathlib.Path.cwd())
    sys.path.insert(0, folder)
    try:
        if is_file:
            spec = importlib.util.spec_from_file_location(path.stem, path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
    except Exception as error:
        raise LoadError(
            f"The architecture's module must be importable. Received: {place}: {type(error).__name__}: {error}. {_EXAMPLE}"
        ) from error
    finally:
        sys.path.remove(folder)
    function = getattr(module, name, None)
    if function is None:
        raise LoadError(f"The architecture's module must have the function {name!r}. Received: {place} without it. {_EXAMPLE}")
    return function


_EXAMPLE = (
    "Give the function that built the model which was saved, with --architecture MODULE:FUNCTION, for example "
    "my_models:build or path/to/my_models.py:build (Python: architecture=build)."
)
