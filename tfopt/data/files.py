"""NumPy files as arrays that are read in pieces."""

import contextlib
import zipfile
import zlib

import numpy as np

from tfopt.errors import DataError


def open_npy(path):
    """The array in a `.npy` file, as a `StoredArray`."""
    try:
        return StoredArray(path)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(
            f"Data files must be .npy, .npz or a folder of images. Received: {path} ({error}). Write it with numpy.save."
        ) from error


def open_npz(path):
    """The arrays in a `.npz` file: {name: `StoredArray`}."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".npy")]
        return {name.removesuffix(".npy"): StoredArray(path, name) for name in members}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise DataError(f"A file written by numpy.savez is required. Received: {path} ({error}). Save it again.") from error


class StoredArray:
    """An array in a file, read row by row: it never sits in memory as a whole, nor do pages of it, as they would with a map.

    Attributes:
        shape: tuple of int.
        dtype: numpy.dtype, never of Python objects: nothing is unpickled.

    Args:
        path: pathlib.Path of a `.npy` file, or of a `.npz` file with
        member: str, the name of the array in it.
    """

    def __init__(self, path, member=None):
        self._path, self._member = path, member
        with self._open() as file:
            self.shape, self._fortran, self.dtype = _read_header(file)
        if self.dtype.hasobject:
            raise ValueError(f"{member or path.name} holds Python objects")

    def rows(self, indices):
        """Yields the rows at `indices`, an iterable of rising int."""
        try:
            yield from self._rows(indices)
        except DataError:
            raise
        except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError) as error:
            raise DataError(f"A complete file is required. Received: {self._path} ({error}). Copy it again.") from error

    def _rows(self, indices):
        if self._fortran:  # its rows are scattered over the file
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
    def _open(self):
        if self._member is None:
            with open(self._path, "rb") as file:
                yield file
        else:
            with zipfile.ZipFile(self._path) as archive, archive.open(self._member) as file:
                yield file


def _read_header(file):
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)
