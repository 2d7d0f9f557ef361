"""Open a TFLite file in a child process first, as it may end the process that opens it."""

from __future__ import annotations

import dataclasses
import pathlib

from tfopt import isolation
from tfopt.errors import ConversionError, LoadError
from tfopt.files import PathLike
from tfopt.request import Request


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenRequest(Request):
    """A file that a child process opens; `keep_all` as for `Interpreter`."""

    path: str
    keep_all: bool


def require_survivable(path: PathLike, *, keep_all: bool = False) -> None:
    """Raises where a file ends the process that opens it.

    The kernels abort the process where the tensors of an operation contradict each other. `integrity` does not know all kernels.

    Args:
        path: of a `.tflite` file.
        keep_all: as for `Interpreter`; it decides which kernels see the file.

    Raises:
        LoadError: the child process died.
        ConversionError: the runtime refuses the file, or takes longer than 5 minutes.
    """
    request = OpenRequest(path=str(pathlib.Path(path).resolve()), keep_all=keep_all)
    try:
        isolation.run("tfopt.tflite.interpreter:open_file", request, timeout=300.0)
    except ConversionError as error:
        if "died" not in str(error):
            raise
        raise LoadError(
            f"A TFLite file that does not end the process that opens it is required. Received: {path}. {error} "
            "Convert the model again."
        ) from error
