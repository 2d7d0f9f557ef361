"""NumPy files as arrays that are read row by row."""

from __future__ import annotations

import contextlib
import pathlib
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tfopt import sizes
from tfopt.errors import DataError

# What NumPy and zipfile raise for a damaged file.
_DAMAGES = (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, NotImplementedError, RuntimeError)


_LONGEST = 10_000  # bytes of a header that NumPy reads by default


def open_npy(path: pathlib.Path, *, allow_large: bool = False) -> StoredArray:
    """Opens the array in a `.npy` file.

    Args:
        path: of the file.
        allow_large: whether the array may take any memory.

    Raises:
        DataError: the file is missing, damaged, too large or of another kind.
    """
    try:
        return StoredArray(path, allow_large=allow_large)
    except DataError:
        raise
    except _DAMAGES as error:
        raise DataError(
            f"Data files must be .npy, .npz or a folder of images. Received: {path} ({error}). Write it with numpy.save."
        ) from error


def open_npz(path: pathlib.Path, *, allow_large: bool = False) -> dict[str, StoredArray]:
    """Opens the arrays in a `.npz` file, by name.

    Args:
        path: of the file.
        allow_large: whether the arrays may take any memory.

    Raises:
        DataError: the file is missing, damaged, too large or of another kind.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".npy")]
        return {name.removesuffix(".npy"): StoredArray(path, name, allow_large=allow_large) for name in members}
    except DataError:
        raise
    except _DAMAGES as error:
        raise DataError(f"A file written by numpy.savez is required. Received: {path} ({error}). Save it again.") from error


class StoredArray:
    """An array in a file, read row by row: memory holds one row at a time, where a memory map would keep the pages it read.

    Example: `first, third = StoredArray(pathlib.Path("data.npy")).rows([0, 2])`

    Attributes:
        shape: shape of the whole array, rows first.
        dtype: never that of Python objects: nothing is unpickled.

    Args:
        path: of a `.npy` file, or of a `.npz` file that has the array `member`.
        member: file name of the array in a `.npz` file; None for a `.npy` file.
        allow_large: whether the array may take any memory.

    Raises:
        ValueError, OSError, EOFError, zipfile.BadZipFile: the file is missing, damaged, of another kind, or holds Python objects.
        DataError: a row, or an array in Fortran order, does not fit the free memory, or a packed array grows too much.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __init__(self, path: pathlib.Path, member: str | None = None, *, allow_large: bool = False) -> None:
        self._path, self._member = path, member
        with self._open() as file:
            self.shape, self._fortran, self.dtype = _read_header(file)
            start = file.tell()
        if self.dtype.hasobject:
            raise ValueError(f"{member or path.name} holds Python objects")
        if any(isinstance(size, bool) or size < 0 for size in self.shape) or self.dtype.itemsize == 0:
            raise ValueError(f"{member or path.name} has the shape {self.shape} of {self.dtype}")
        needed = sizes.array_room(self.shape, self.dtype.itemsize)
        whole, packed = self._sizes()
        if needed > whole - start:
            raise ValueError(f"{member or path.name} is cut off: {self.shape} of {self.dtype} takes {needed:,} bytes")
        what = f"the array {member!r}" if member else "the array"
        sizes.require_growth(needed, packed, what, allow_large=allow_large, path=path, error=DataError)
        at_once = needed if self._fortran else sizes.array_room(self.shape[1:], self.dtype.itemsize)
        sizes.require_memory(at_once, f"a row of {what}", allow_large=allow_large, path=path, error=DataError)

    def rows(self, indices: Iterable[int]) -> Iterator[npt.NDArray[Any]]:
        """Yields the rows at `indices`, which must rise.

        Raises:
            DataError: the file is damaged.
        """
        try:
            yield from self._rows(indices)
        except DataError:
            raise
        except _DAMAGES as error:
            raise DataError(f"A complete file is required. Received: {self._path} ({error}). Copy it again.") from error

    def _rows(self, indices: Iterable[int]) -> Iterator[npt.NDArray[Any]]:
        if self._fortran:  # the numbers of a row are scattered over the file
            with self._open() as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
            yield from (array[index] for index in indices)
            return
        size = sizes.array_room(self.shape[1:], self.dtype.itemsize)
        with self._open() as file:
            _read_header(file)
            start = file.tell()
            for index in indices:
                file.seek(start + index * size)
                data = file.read(size)
                if len(data) < size:
                    raise DataError(f"A complete file is required. Received: {self._path}, which is cut off. Copy it again.")
                yield np.frombuffer(data, self.dtype).reshape(self.shape[1:])

    def _sizes(self) -> tuple[int, int]:
        """The bytes of the array with its header, and the bytes that it takes on the disk."""
        if self._member is None:
            size = self._path.stat().st_size
            return size, size
        with zipfile.ZipFile(self._path) as archive:
            found = archive.getinfo(self._member)
            return found.file_size, min(found.compress_size, self._path.stat().st_size)

    @contextlib.contextmanager
    def _open(self) -> Iterator[IO[bytes]]:
        if self._member is None:
            with open(self._path, "rb") as file:
                yield file
        else:
            with zipfile.ZipFile(self._path) as archive, archive.open(self._member) as member:
                yield member


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the order is Fortran's, and dtype."""
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        # NumPy reads a header of any length, up to 4 GB, before it refuses it.
        place = file.tell()
        if (length := int.from_bytes(file.read(4), "little")) > _LONGEST:
            raise ValueError(f"a damaged header of {length:,} bytes")
        file.seek(place)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        return read(file)
    except (tokenize.TokenError, SyntaxError, TypeError, LookupError, RecursionError, MemoryError) as error:
        raise ValueError(f"a damaged header: {error}") from error
