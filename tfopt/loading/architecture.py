"""The architecture of a file that holds only weights: a function of the user's that builds the model."""

from __future__ import annotations

import importlib
import pathlib
from collections.abc import Callable
from typing import Any

from tfopt.errors import LoadError
from tfopt.loading import python_file
from tfopt.loading.options import EXAMPLE


def build(architecture: str | Callable[[], Any]) -> Any:
    """Builds a model with the function of the user's.

    Example: `build("my_models:build")`

    Args:
        architecture: "module:function", "path/to/file.py:function", or a function without arguments.

    Returns:
        A Keras 3 or Keras 2 model, built.

    Raises:
        LoadError: there is no such module or function, it fails, or it returns no model with weights.
    """
    name = name_of(architecture)
    function = _import(architecture) if isinstance(architecture, str) else architecture
    try:
        model = function()
    except (Exception, SystemExit) as error:
        raise LoadError(
            f"The architecture must be a function that runs without arguments. Received: {name}, which raised "
            f"{type(error).__name__}: {error}. {EXAMPLE}"
        ) from error
    if not hasattr(model, "layers") or not hasattr(model, "get_weights"):
        raise LoadError(f"The architecture must return a Keras model. Received: {type(model).__name__} from {name}. {EXAMPLE}")
    if not model.weights:
        raise LoadError(
            f"The architecture must return a model that is built. Received: {name}, whose model has no weights. "
            "Let the model begin with an Input, or call the model once before the function returns it."
        )
    return model


def name_of(architecture: str | Callable[[], Any]) -> str:
    """The name of an architecture for messages."""
    return architecture if isinstance(architecture, str) else getattr(architecture, "__name__", "a function")


def _import(text: str) -> Callable[[], Any]:
    place, _, name = text.rpartition(":")
    is_file = place.endswith(".py")
    path = pathlib.Path(place)
    if is_file and not path.is_file():
        raise LoadError(f"The architecture's file must exist. Received: {place}. Check the path.")
    try:
        if is_file:
            module = python_file.run(path)
        else:
            with python_file.importing_from(pathlib.Path.cwd()):
                module = importlib.import_module(place)
    except (Exception, SystemExit) as error:
        raise LoadError(
            f"The architecture's module must be importable. Received: {place}: {type(error).__name__}: {error}. {EXAMPLE}"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise LoadError(f"The architecture's module must have the function {name!r}. Received: {place} without it. {EXAMPLE}")
    return function
