"""The Python bytecode of `Lambda` layers in HDF5 files."""

from __future__ import annotations

import base64
import binascii
import marshal
import pathlib
from typing import Any

from tfopt.errors import LoadError
from tfopt.loading.model_file import Config


def require_runnable(layer: Config, path: pathlib.Path) -> None:
    """Raises an error if the bytecode of a `Lambda` layer is of another Python version, so that it cannot run here.

    Args:
        layer: the layer's configuration.
        path: of the file, for messages.

    Raises:
        LoadError: the function itself must be given.
    """
    function = layer.get("function")
    if not isinstance(function, list | dict):
        return
    code = function[0] if isinstance(function, list) else (function.get("config") or {}).get("code")
    try:
        marshal.loads(_bytes(code))
    except (ValueError, EOFError, TypeError, IndexError, AttributeError, MemoryError, SystemError) as error:
        name = layer.get("name")
        raise LoadError(
            f"A Lambda layer's bytecode must be of this Python version. Received: {path}, whose layer {name!r} has bytecode of "
            f"another version. Give the function under the layer's name with --custom-objects FILE.py "
            f"(Python: custom_objects={{{name!r}: function}}); the file has:\n"
            f"def function(x):\n    return ...\ncustom_objects = {{{name!r}: function}}"
        ) from error


def _bytes(code: Any) -> bytes:
    try:
        return base64.b64decode("".join(code.split()), validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        return code.encode("raw_unicode_escape")
