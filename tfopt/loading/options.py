"""How a model file is loaded: one frozen, validated object."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

from tfopt.errors import ArgumentError
from tfopt.files import PathLike

CustomObjects = PathLike | Mapping[str, Any] | None
"""Classes and functions by name, or the path of a Python file that defines them."""

Architecture = str | Callable[[], Any] | None
"""A function that builds a Keras model, or its name as "module:function" or "file.py:function"."""

EXAMPLE = (
    "Give the function that built the saved model with --architecture MODULE:FUNCTION, for example my_models:build or "
    "path/to/my_models.py:build (Python: architecture=build)."
)
"""The remedy in messages about an architecture."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """What the caller adds to a model file; `tfopt.load` explains each option.

    Raises:
        ArgumentError: an option has a value that cannot be used.
    """

    custom_objects: CustomObjects = None
    architecture: Architecture = None  # for files that hold only weights
    allow_unsafe: bool = False  # whether code in the file may run, and files of the machine be read
    allow_large: bool = False  # whether the content of the file, and of data files, may take any memory

    def __post_init__(self) -> None:
        given = self.custom_objects
        if isinstance(given, Mapping):
            if not all(isinstance(name, str) for name in given):
                raise ArgumentError(f"Every name in `custom_objects` must be a str. Received: {list(given)!r}.")
        elif not (given is None or isinstance(given, str | os.PathLike)):
            raise ArgumentError(
                "`custom_objects` must be a dict of name -> class or function, or the path of a Python file. "
                f"Received: custom_objects={given!r}."
            )
        if isinstance(self.architecture, str):
            module, _, function = self.architecture.rpartition(":")
            if not (module and function):
                raise ArgumentError(f"`architecture` must be MODULE:FUNCTION. Received: {self.architecture!r}. {EXAMPLE}")
        elif not (self.architecture is None or callable(self.architecture)):
            raise ArgumentError(
                f"`architecture` must be MODULE:FUNCTION or a function. Received: architecture={self.architecture!r}. {EXAMPLE}"
            )
        for name in ("allow_unsafe", "allow_large"):
            if not isinstance(getattr(self, name), bool):
                raise ArgumentError(f"`{name}` must be True or False. Received: {name}={getattr(self, name)!r}.")
