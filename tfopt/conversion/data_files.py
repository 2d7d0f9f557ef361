"""Data that lie on disk, read row by row: `.npy`, `.npz`, folders of images."""

import contextlib
import zipfile
import zlib

import numpy as np

from tfopt.errors import DataError

SCALES = {"0..1": (1 / 255, 0.0), "-1..1": (2 / 255, -1.0), "0..255": (1.0, 0.0)}
_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm"}


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


class ImageFolder:
    """A folder of images as an array, decoded and resized one by one when asked for.

    Attributes:
        shape: tuple of int, (images, height, width, channels).
        classes: list of str, the names of the sub-folders, sorted; class ids are places in it, as in Keras.
        class_ids: list of int, one per image.

    Args:
        folder: pathlib.Path, searched with its sub-folders.
        spec: `signature.TensorSpec` of the input, (batch, height, width, 1 or 3).
        scale: a key of `SCALES`.
    """

    def __init__(self, folder, spec, scale):
        if len(spec.shape) != 4 or spec.shape[-1] not in (1, 3) or None in spec.shape[1:]:
            raise DataError(
                "A folder of images needs an input (batch, height, width, 1 or 3) of known size. "
                f"Received: {spec}. Give the size with --input-shape, or the data as .npy."
            )
        if scale not in SCALES:
            raise DataError(
                f"The range that the model expects of images must be given: --scale {'|'.join(SCALES)} (Python: scale=...). "
                f"Received: scale={scale!r} for {folder}. Use 0..255 if the model begins with Rescaling or Normalization."
            )
        self._files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _IMAGE_SUFFIXES and file.is_file())
        if not self._files:
            kinds = ", ".join(sorted(_IMAGE_SUFFIXES))
            raise DataError(f"At least one image ({kinds}) is required. Received: none in {folder}. Check the path.")
        self._scale = SCALES[scale]
        self.shape = (len(self._files), *spec.shape[1:])
        self.classes = sorted(item.name for item in folder.iterdir() if item.is_dir())
        parts = [file.relative_to(folder).parts for file in self._files]
        self.class_ids = [self.classes.index(part[0]) if len(part) > 1 else None for part in parts]

    def rows(self, indices):
        from PIL import Image

        _, height, width, channels = self.shape
        factor, offset = map(np.float32, self._scale)
        for index in indices:
            try:
                with Image.open(self._files[index]) as image:
                    if image.mode.startswith("I"):  # 16 bits, which `convert` would cut off at 255
                        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
                    pixels = image.convert("RGB" if channels == 3 else "L")
                    pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
            except (OSError, ValueError, Image.DecompressionBombError) as error:
                raise DataError(f"Every image must be readable. Received: {self._files[index]} ({error}). Remove it.") from error
            yield np.asarray(pixels, np.float32).reshape(height, width, channels) * factor + offset
