"""An HDF5 file read to its end in a process of its own: in a damaged file, HDF5 may loop for ever or crash."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import resource
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
        isolation.run("tfopt.loading.hdf5_probe:read_all", request, timeout=3 * seconds)
    except ConversionError:
        return False
    return True


def read_all(request: str, progress: Progress) -> None:
    """Reads every attribute and every array of a file, in a child process. Parts that raise errors are left to the later reader.

    Args:
        request: a `ReadRequest` as JSON.
        progress: is not called.
    """
    import h5py

    asked = ReadRequest.from_json(request)
    # Nothing in Python can interrupt a loop in C: the kernel ends it, even if the parent is gone.
    resource.setrlimit(resource.RLIMIT_CPU, (asked.seconds, asked.seconds))

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        _attempt(lambda: [item.attrs.get(key) for key in item.attrs])
        if isinstance(item, h5py.Dataset):
            _attempt(lambda: item[()])

    def read() -> None:
        with h5py.File(asked.path, "r") as file:
            visit("", file)
            file.visititems(visit)

    _attempt(read)


def _attempt(read: Callable[[], object]) -> None:
    with contextlib.suppress(OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, MemoryError):
        read()
