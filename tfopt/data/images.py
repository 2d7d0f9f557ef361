"""A folder of images as an array."""

from __future__ import annotations

import contextlib
import pathlib
import struct
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from tfopt import sizes
from tfopt.data.scaling import SCALES, Scale
from tfopt.data.signature import TensorSpec
from tfopt.errors import DataError

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM")
_PIXEL = 16  # bytes: as it is decoded, in the colors of the model, and as a float of each color at worst
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm"}


class ImageFolder:
    """A folder of images as an array of float32, decoded and resized one by one when they are read.

    Example: `ImageFolder(pathlib.Path("photos"), TensorSpec("image", (None, 224, 224, 3), "float32"), "0..1")`

    Attributes:
        shape: (images, height, width, channels).
        classes: names of the sub-folders, sorted.
        class_ids: one for each image: the position of its sub-folder in `classes`, as in Keras; None for an image that lies
            directly in the folder.

    Args:
        folder: searched with its sub-folders.
        spec: the input, of shape (batch, height, width, 1 or 3).
        scale: the range that the model expects.
        allow_large: whether the pixels of an image may take any memory.

    Raises:
        DataError: the input is no image of known size, `scale` is missing or unknown, or the folder has no images.
    """

    shape: tuple[int, ...]
    classes: list[str]
    class_ids: list[int | None]

    def __init__(self, folder: pathlib.Path, spec: TensorSpec, scale: Scale | None, *, allow_large: bool = False) -> None:
        size = [dimension for dimension in spec.shape[1:] if dimension is not None]
        if len(spec.shape) != 4 or len(size) != 3 or size[-1] not in (1, 3):
            raise DataError(
                "A folder of images needs an input (batch, height, width, 1 or 3) of known size. "
                f"Received: {spec}. Give the size with --input-shape, or the data as .npy."
            )
        if scale not in SCALES:
            raise DataError(
                f"The range that the model expects of images must be given: --scale {'|'.join(SCALES)} (Python: scale=...). "
                f"Received: scale={scale!r} for {folder}. Use 0..255 if the model begins with Rescaling or Normalization."
            )
        self._files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES and file.is_file())
        if not self._files:
            kinds = ", ".join(sorted(_SUFFIXES))
            raise DataError(f"At least one image ({kinds}) is required. Received: no images in {folder}. Check the path.")
        self._scale, self._allow_large = SCALES[scale], allow_large
        self.shape = (len(self._files), *size)
        self.classes = sorted(item.name for item in folder.iterdir() if item.is_dir())
        parts = [file.relative_to(folder).parts for file in self._files]
        self.class_ids = [self.classes.index(part[0]) if len(part) > 1 else None for part in parts]

    def rows(self, indices: Iterable[int]) -> Iterator[npt.NDArray[np.float32]]:
        """Yields the images at `indices`, each of shape (height, width, channels), in the range of `scale`.

        Raises:
            DataError: an image is damaged or too large.
        """
        from PIL import Image

        _, height, width, channels = self.shape
        factor, offset = map(np.float32, self._scale)
        for index in indices:
            try:
                # Others than these kinds run programs, as EPS does, whatever the name of the file says.
                with _any_size(), Image.open(self._files[index], formats=_FORMATS) as file:
                    self._require_room(index, file.size)
                    # `convert` would cut off 16 bits at 255.
                    is_deep = file.mode.startswith("I")
                    image = Image.fromarray((np.asarray(file) // 257).astype(np.uint8)) if is_deep else file
                    pixels = image.convert("RGB" if channels == 3 else "L")
                    pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
            except DataError:
                raise
            except (OSError, ValueError, SyntaxError, EOFError, struct.error, TypeError, LookupError, MemoryError) as error:
                raise DataError(f"Every image must be readable. Received: {self._files[index]} ({error}). Remove it.") from error
            yield np.asarray(pixels, np.float32).reshape(height, width, channels) * factor + offset

    def _require_room(self, index: int, size: tuple[int, int]) -> None:
        path, needed = self._files[index], sizes.array_room(size, _PIXEL)
        what = f"an image of {size[0]} x {size[1]} pixels"
        stored = path.stat().st_size
        sizes.require_growth(needed, stored, what, allow_large=self._allow_large, path=path, error=DataError)
        sizes.require_memory(needed, what, allow_large=self._allow_large, path=path, error=DataError)


@contextlib.contextmanager
def _any_size() -> Iterator[None]:
    """Turns off the bound of Pillow, which knows neither the size of the file nor the free memory."""
    from PIL import Image

    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
