"""NumPy files as arrays that are read row by row."""

from __future__ import annotations

import contextlib
import pathlib
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tfopt.errors import DataError


def open_npy(path: pathlib.Path) -> StoredArray:
    """Opens the array in a `.npy` file.

    Raises:
        DataError: the file is missing, damaged or of another kind.
    """
    try:
        return StoredArray(path)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(
            f"Data files must be .npy, .npz or a folder of images. Received: {path} ({error}). Write it with numpy.save."
        ) from error


def open_npz(path: pathlib.Path) -> dict[str, StoredArray]:
    """Opens the arrays in a `.npz` file, by name.

    Raises:
        DataError: the file is missing, damaged or of another kind.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".npy")]
        return {name.removesuffix(".npy"): StoredArray(path, name) for name in members}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
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

    Raises:
        ValueError, OSError, EOFError, zipfile.BadZipFile: the file is missing, damaged, of another kind, or holds Python objects.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __init__(self, path: pathlib.Path, member: str | None = None) -> None:
        self._path, self._member = path, member
        with self._open() as file:
            self.shape, self._fortran, self.dtype = _read_header(file)
        if self.dtype.hasobject:
            raise ValueError(f"{member or path.name} holds Python objects")

    def rows(self, indices: Iterable[int]) -> Iterator[npt.NDArray[Any]]:
        """Yields the rows at `indices`, which must rise.

        Raises:
            DataError: the file is damaged.
        """
        try:
            yield from self._rows(indices)
        except DataError:
            raise
        except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError) as error:
            raise DataError(f"A complete file is required. Received: {self._path} ({error}). Copy it again.") from error

    def _rows(self, indices: Iterable[int]) -> Iterator[npt.NDArray[Any]]:
        if self._fortran:  # the numbers of a row are scattered over the file
            with self._open() as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
            yield from (array[index] for index in indices)
            return
        size = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        with self._open() as file:
            _read_header(file)
            start = file.tell()
            for index in indices:
                file.seek(start + index * size)
                data = file.read(size)
                if len(data) < size:
                    raise DataError(f"A complete file is required. Received: {self._path}, which is cut off. Copy it again.")
                yield np.frombuffer(data, self.dtype).reshape(self.shape[1:])

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
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)
