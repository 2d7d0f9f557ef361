"""An HDF5 file read to its end in another process: in a damaged file, HDF5 may loop for ever or crash."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import resource
import time
from collections.abc import Callable

from tfopt import isolation
from tfopt.errors import ConversionError
from tfopt.progress import Progress
from tfopt.request import Request

SECONDS = 10
"""CPU time that reading a small file may take."""

_SLOWEST = 5e6  # bytes a second that any CPU reads


@dataclasses.dataclass(frozen=True)
class ReadRequest(Request):
    """The path of a file that is read to its end in a child process, and the seconds of CPU time that it may take."""

    path: str
    seconds: int


def can_be_read(path: pathlib.Path) -> bool:
    """Whether HDF5 comes to the end of a file, without a crash and within `SECONDS` and a time that grows with its size."""
    seconds = int(SECONDS + path.stat().st_size / _SLOWEST)
    request = ReadRequest(str(path.resolve()), seconds)
    try:
        with isolation.warm_child("h5py") as child:
            if not child.call("tfopt.loading.hdf5_probe:read_all", request, timeout=3 * seconds):
                child.__exit__()  # an error may leave HDF5 in a state that harms the next file
    except ConversionError:
        return False
    return True


def read_all(request: str, progress: Progress) -> bool:
    """Reads every attribute and every array of a file, in a child process. Parts that raise errors are left to the later reader.

    Args:
        request: a `ReadRequest` as JSON.
        progress: is not called.

    Returns:
        Whether no part raised an error.
    """
    import h5py

    asked = ReadRequest.from_json(request)
    # Nothing in Python can interrupt a loop in C: the kernel ends it, even if the parent is gone.
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + asked.seconds, hard))
    errors: list[Exception] = []

    def attempt(read: Callable[[], object]) -> None:
        try:
            read()
        except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, MemoryError) as error:
            errors.append(error)

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        attempt(lambda: [item.attrs.get(key) for key in item.attrs])
        if isinstance(item, h5py.Dataset):
            attempt(lambda: item[()])

    def read() -> None:
        with h5py.File(asked.path, "r") as file:
            visit("", file)
            file.visititems(visit)

    attempt(read)
    return not errors
