"""Open a TFLite file, or run it, in a child process first, as it may end the process that does so."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import tempfile
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfopt import isolation
from tfopt.errors import ConversionError, LoadError, RunError
from tfopt.files import PathLike
from tfopt.request import Request
from tfopt.tflite.file import Source, file_name, read_bytes

REAL_SAMPLES = (
    "Made-up data may divide by zero or reach beyond a table: give real samples with --data (Python: data=...). "
    "If the data are real, convert the model again."
)
"""The remedy in messages about files that do not run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenRequest(Request):
    """A file that a child process opens; `keep_all` and `allow_large` as for `Interpreter`.

    Attributes:
        path: of the file.
        keep_all: as for `Interpreter`.
        allow_large: as for `Interpreter`.
        run: whether the file is run on random numbers as well.
        batch: None, or the path of a `.npz` file with a batch that the file is run on.
    """

    path: str
    keep_all: bool = False
    allow_large: bool = False
    run: bool = False
    batch: str | None = None


def require_survivable(path: PathLike, *, keep_all: bool = False, allow_large: bool = False) -> None:
    """Raises where a file ends the process that opens it.

    The kernels abort the process where the tensors of an operation contradict each other. `integrity` does not know all kernels.

    Args:
        path: of a `.tflite` file.
        keep_all: as for `Interpreter`; it decides which kernels see the file.
        allow_large: as for `Interpreter`.

    Raises:
        LoadError: the child process died.
        ConversionError: the runtime refuses the file, or takes longer than 5 minutes.
    """
    request = OpenRequest(path=str(pathlib.Path(path).resolve()), keep_all=keep_all, allow_large=allow_large)
    try:
        isolation.run("tfopt.tflite.interpreter:open_file", request, timeout=300.0)
    except ConversionError as error:
        if "died" not in str(error):
            raise
        raise LoadError(
            f"A TFLite file that does not end the process that opens it is required. Received: {path}. {error} "
            "Convert the model again."
        ) from error


def require_runnable(model: Source, batch: Sequence[npt.ArrayLike] | None, *, allow_large: bool = False) -> None:
    """Raises where a file does not run on a batch, or ends the process that runs it.

    Args:
        model: path or bytes of a `.tflite` file.
        batch: one array in real units for each input, in the file's order; None for random numbers.
        allow_large: as for `Interpreter`.

    Raises:
        RunError: the runtime refuses the batch, or the child process died.
    """
    with tempfile.TemporaryDirectory(prefix="tfopt-") as name:
        folder = pathlib.Path(name)
        path = folder / "model.tflite"
        path.write_bytes(read_bytes(model, allow_large=allow_large))
        if batch is not None:
            np.savez(folder / "batch.npz", *map(np.asarray, batch))
        stored = None if batch is None else str(folder / "batch.npz")
        request = OpenRequest(path=str(path), allow_large=allow_large, run=True, batch=stored)
        try:
            isolation.run("tfopt.tflite.interpreter:open_file", request, timeout=300.0)
        except ConversionError as error:
            text = str(error).replace(str(path), file_name(model))
            if isinstance(error, RunError):
                raise RunError(text) from error
            death = re.search(r"died with [^.]*", text)
            raise RunError(
                f"The TFLite runtime must run the file on the data. Received: {file_name(model)}, whose process "
                f"{death.group() if death else f'failed: {text}'}. {REAL_SAMPLES}"
            ) from error
