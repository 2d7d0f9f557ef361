"""Read the bytes of a TFLite file."""

import pathlib

from tfopt.errors import LoadError


def read_bytes(model):
    """The bytes of a `.tflite` file, from a path or as they are."""
    if isinstance(model, (bytes, bytearray, memoryview)):
        return bytes(model)
    path = pathlib.Path(model)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LoadError(f"The TFLite file must be readable. Received: {path} ({error.strerror}). Check the path.") from error
    if content[4:8] != b"TFL3":
        what = "an empty file" if not content else f"a file that starts with {content[:8]!r}"
        raise LoadError(f"A TFLite file is required. Received: {path}, {what}. Make one with `tfopt convert`.")
    return content


def is_tflite(path):
    """Whether the file at `path` says that it is a TFLite file."""
    try:
        with open(path, "rb") as file:
            return file.read(8)[4:] == b"TFL3"
    except OSError:
        return False


def file_name(model):
    return "bytes" if isinstance(model, (bytes, bytearray, memoryview)) else str(model)
