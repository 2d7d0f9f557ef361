"""A folder of images as an array."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from tfopt.data.scaling import SCALES, Scale
from tfopt.data.signature import TensorSpec
from tfopt.errors import DataError

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

    Raises:
        DataError: the input is no image of known size, `scale` is missing or unknown, or the folder has no images.
    """

    shape: tuple[int, ...]
    classes: list[str]
    class_ids: list[int | None]

    def __init__(self, folder: pathlib.Path, spec: TensorSpec, scale: Scale | None) -> None:
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
        self._scale = SCALES[scale]
        self.shape = (len(self._files), *size)
        self.classes = sorted(item.name for item in folder.iterdir() if item.is_dir())
        parts = [file.relative_to(folder).parts for file in self._files]
        self.class_ids = [self.classes.index(part[0]) if len(part) > 1 else None for part in parts]

    def rows(self, indices: Iterable[int]) -> Iterator[npt.NDArray[np.float32]]:
        """Yields the images at `indices`, each of shape (height, width, channels), in the range of `scale`.

        Raises:
            DataError: an image is damaged.
        """
        from PIL import Image

        _, height, width, channels = self.shape
        factor, offset = map(np.float32, self._scale)
        for index in indices:
            try:
                with Image.open(self._files[index]) as file:
                    # `convert` would cut off 16 bits at 255.
                    is_deep = file.mode.startswith("I")
                    image = Image.fromarray((np.asarray(file) // 257).astype(np.uint8)) if is_deep else file
                    pixels = image.convert("RGB" if channels == 3 else "L")
                    pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
            except (OSError, ValueError, Image.DecompressionBombError) as error:
                raise DataError(f"Every image must be readable. Received: {self._files[index]} ({error}). Remove it.") from error
            yield np.asarray(pixels, np.float32).reshape(height, width, channels) * factor + offset
