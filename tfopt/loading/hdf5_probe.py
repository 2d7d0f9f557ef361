"""An HDF5 file read to its end in another process: in a damaged file, HDF5 may loop for ever, crash, or take any memory."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import pathlib
import resource
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tfopt import isolation, sizes
from tfopt.errors import ConversionError, UnsafeModelError
from tfopt.progress import Progress
from tfopt.request import Request

if TYPE_CHECKING:
    import h5py
    from typing_extensions import Buffer

SECONDS = 10
"""CPU time that reading a small file may take."""

_SLOWEST = 5e6  # bytes a second that any CPU reads
# What h5py and zipfile raise for a damaged file.
_DAMAGES = (
    OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, MemoryError, EOFError, zipfile.BadZipFile, zlib.error,
    SystemError,
)  # fmt: skip
_MEMBER_HEADER = 30  # bytes before the name of a member of an archive
_OVERHEAD = 1 << 30  # bytes that the process may take beyond the content of the file


@dataclasses.dataclass(frozen=True)
class ReadRequest(Request):
    """A file that is read to its end in a child process.

    Attributes:
        path: of an HDF5 file, or of an archive.
        member: name of the HDF5 file in the archive; None if `path` is the file.
        seconds: CPU time that reading may take.
        allow_unsafe: whether the arrays may be in other files.
        allow_large: whether the arrays may take any memory.
    """

    path: str
    member: str | None
    seconds: int
    allow_unsafe: bool
    allow_large: bool


def count_numbers(
    path: pathlib.Path, member: str | None = None, *, allow_unsafe: bool = False, allow_large: bool = False
) -> int | None:
    """How many numbers the arrays of a file hold; None if they cannot be read to their end.

    HDF5 must come to the end without a crash, and within `SECONDS` and a time that grows with the size of the file.

    Args:
        path: of an HDF5 file, or of an archive that holds one.
        member: name of the HDF5 file in the archive; None if `path` is the file.
        allow_unsafe: whether the arrays may be in other files.
        allow_large: whether the arrays may take any memory.

    Raises:
        UnsafeModelError: an array is in another file.
        LoadError: the arrays take more memory than such a file should.
    """
    seconds = int(SECONDS + path.stat().st_size / _SLOWEST)
    request = ReadRequest(str(path.resolve()), member, seconds, allow_unsafe, allow_large)
    try:
        with isolation.warm_child("h5py") as child:
            found = child.call("tfopt.loading.hdf5_probe:read_all", request, timeout=3 * seconds)
            if not found["is_whole"]:
                child.__exit__()  # an error may leave HDF5 in a state that harms the next file
    except ConversionError:
        return None
    numbers: int | None = found["numbers"]
    return numbers


def read_all(request: str, progress: Progress) -> dict[str, Any]:
    """Reads every attribute and every array of a file, in a child process. Parts that raise errors are left to the later reader.

    Args:
        request: a `ReadRequest` as JSON.
        progress: is not called.

    Returns:
        "is_whole": whether no part raised an error; "numbers": how many numbers the arrays hold, or None if the links and arrays
        cannot be listed.

    Raises:
        UnsafeModelError, LoadError: as `count_numbers`.
    """
    import h5py

    asked = ReadRequest.from_json(request)
    # Nothing in Python can interrupt a loop in C: the kernel ends it, even if the parent is gone.
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + asked.seconds, hard))
    errors: list[Exception] = []
    numbers: int | None = None

    def attempt(read: Callable[[], object]) -> None:
        try:
            read()
        except _DAMAGES as error:
            errors.append(error)

    def read_part(part: h5py.Group | h5py.Dataset) -> None:
        attempt(lambda: [part.attrs.get(key) for key in part.attrs])
        if isinstance(part, h5py.Dataset):
            attempt(lambda: part[()])

    def read() -> None:
        nonlocal numbers
        with _opened(pathlib.Path(asked.path), asked.member) as stored, h5py.File(stored, "r") as file:
            if not asked.allow_unsafe:
                _require_own_links(file, asked.path)
            parts = [file, *_parts(file, asked)]
            numbers = sum(sizes.array_room(part.shape or (), 1) for part in parts if isinstance(part, h5py.Dataset))
            for part in parts:
                read_part(part)

    with _bounded_memory(asked):
        attempt(read)
    # Text of any length is read by reference, so that its size is known only when it is read.
    if any(isinstance(error, MemoryError) or "alloc" in str(error) for error in errors):
        sizes.require_room(math.inf, _size(asked), "an array or an attribute", allow_large=asked.allow_large, path=asked.path)
    return {"is_whole": not errors, "numbers": numbers}


@contextlib.contextmanager
def _opened(path: pathlib.Path, member: str | None) -> Iterator[str | io.IOBase]:
    if member is None:
        yield str(path)
        return
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo(member).compress_type == zipfile.ZIP_STORED:
            with _Window(path, *_place(path, archive.getinfo(member))) as stored:
                yield stored
        else:  # going back in a packed file means to unpack it again
            yield io.BytesIO(archive.read(member))


class _Window(io.RawIOBase):
    """A part of a file as a file. `zipfile` instead reads all bytes up to the place that is sought."""

    def __init__(self, path: pathlib.Path, start: int, size: int) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 (closed in close)
        self._start, self._size, self._place = start, size, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence])
        return self._place

    def readinto(self, buffer: Buffer) -> int:
        self._file.seek(self._start + self._place)
        view = memoryview(buffer)
        count = self._file.readinto(view[: max(0, min(len(view), self._size - self._place))])
        self._place += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _place(path: pathlib.Path, member: zipfile.ZipInfo) -> tuple[int, int]:
    """(first byte in the archive, number of bytes) of a member that is not packed."""
    with open(path, "rb") as file:
        file.seek(member.header_offset)
        header = file.read(_MEMBER_HEADER)
    name, extra = (int.from_bytes(header[place : place + 2], "little") for place in (26, 28))
    return member.header_offset + len(header) + name + extra, member.file_size


def _require_own_links(file: h5py.File, path: str) -> None:
    """Raises an error if a link leads to another file."""
    import h5py

    # An error that is raised while links are visited is lost in HDF5; a result ends the visit.
    def follow(name: bytes, link: h5py.h5l.LinkInfo) -> bytes | None:
        return name if link.type == h5py.h5l.TYPE_EXTERNAL else None

    found = file.id.links.visit(follow, info=True)
    if found is not None:
        raise _of_another_file(found.decode(errors="replace"), path)


def _parts(file: h5py.File, asked: ReadRequest) -> list[h5py.Group | h5py.Dataset]:
    """All groups and arrays of a file, or an error if an array is in another one, or they take more memory than they should."""
    import h5py

    parts: list[h5py.Group | h5py.Dataset] = []
    needed = 0

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> str | None:
        nonlocal needed
        parts.append(item)
        if isinstance(item, h5py.Dataset):
            if not asked.allow_unsafe and (item.external or item.is_virtual):
                return name
            # One part of an array may be larger than all of it.
            needed += max(sizes.array_room(shape, item.dtype.itemsize) for shape in (item.shape or (), item.chunks or ()))
        return None

    found = file.visititems(visit)
    if found is not None:
        raise _of_another_file(found, asked.path)
    sizes.require_room(needed, _size(asked), "the arrays", allow_large=asked.allow_large, path=asked.path)
    return parts


def _of_another_file(name: str, path: str) -> UnsafeModelError:
    return UnsafeModelError(
        f"A model file must hold its own weights. Received: {path}, whose {name!r} is in another file, which was not read. If "
        "you trust the writer of the file, let it read your files with --allow-unsafe (Python: allow_unsafe=True)."
    )


@contextlib.contextmanager
def _bounded_memory(asked: ReadRequest) -> Iterator[None]:
    """Lets this process take as much memory as the content of the file may, and no more."""
    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    room = min(sizes.free_memory(), max(sizes.SMALL, sizes.GROWTH * _size(asked)))
    if asked.allow_large or math.isinf(room):
        yield
        return
    bound = _taken() + int(room) + _OVERHEAD
    resource.setrlimit(resource.RLIMIT_DATA, (bound if hard == resource.RLIM_INFINITY else min(bound, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def _taken() -> int:
    """The bytes of this process that the kernel counts against `RLIMIT_DATA`; 0 where it does not tell."""
    with contextlib.suppress(OSError, ValueError):
        for line in pathlib.Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmData:"):
                return 1024 * int(line.split()[1])
    return 0


def _size(asked: ReadRequest) -> int:
    return pathlib.Path(asked.path).stat().st_size
