"""Read a TFLite file that is given by its path or as bytes."""

from __future__ import annotations

import pathlib

from tfopt import sizes
from tfopt.errors import LoadError
from tfopt.files import PathLike

Source = PathLike | bytes | bytearray | memoryview
"""A TFLite file: its path or its bytes."""


def read_bytes(model: Source, *, allow_large: bool = False) -> bytes:
    """Returns the bytes of a TFLite file.

    Args:
        model: path or bytes of the file.
        allow_large: whether the file may take any memory.

    Raises:
        LoadError: the path cannot be read, or the file at it is no TFLite file or too large. Bytes are returned unchecked.
    """
    if isinstance(model, (bytes, bytearray, memoryview)):
        return bytes(model)
    path = pathlib.Path(model)
    try:
        sizes.require_memory(path.stat().st_size, "the whole file", allow_large=allow_large, path=path)
        content = path.read_bytes()
    except OSError as error:
        raise LoadError(f"The TFLite file must be readable. Received: {path} ({error.strerror}). Check the path.") from error
    if content[4:8] != b"TFL3":
        found = "an empty file" if not content else f"a file that starts with {content[:8]!r}"
        raise LoadError(f"A TFLite file is required. Received: {path}, {found}. Make one with `tfopt convert`.")
    return content


def is_tflite(path: PathLike) -> bool:
    """Whether the file at `path` starts as a TFLite file does; False if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(8)[4:] == b"TFL3"
    except OSError:
        return False


def file_name(model: Source) -> str:
    """The path of a TFLite file for messages; "bytes" for a file that is given as bytes."""
    return "bytes" if isinstance(model, (bytes, bytearray, memoryview)) else str(model)
