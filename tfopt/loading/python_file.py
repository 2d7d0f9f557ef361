"""A Python file of the user's, run as a module."""

from __future__ import annotations

import contextlib
import importlib.util
import pathlib
import sys
import types
from collections.abc import Iterator


def run(path: pathlib.Path) -> types.ModuleType:
    """Runs a Python file and returns its module, whose name is that of the file.

    While it runs, it may import its neighbors, and the module is among those of Python, as dataclasses need it.

    Example: `run(pathlib.Path("my_layers.py")).custom_objects`

    Args:
        path: of the file, whose name ends with ".py".

    Raises:
        ImportError: the file does not end with ".py", or it ends the process.
        Exception: whatever the file raises.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError("the name of the file does not end with .py")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(path.stem)
    sys.modules[path.stem] = module
    try:
        with importing_from(path.resolve().parent):
            spec.loader.exec_module(module)
    except SystemExit as error:
        raise ImportError(f"the file ends the process with {error.code!r}") from error
    finally:
        sys.modules.pop(path.stem, None)
        if before is not None:  # another module of this name
            sys.modules[path.stem] = before
    return module


@contextlib.contextmanager
def importing_from(folder: pathlib.Path) -> Iterator[None]:
    """Lets Python import modules from a folder first."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))
