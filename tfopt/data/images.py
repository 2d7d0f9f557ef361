"""A folder of images as an array."""

import numpy as np

from tfopt.data.scaling import SCALES
from tfopt.errors import DataError

_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm"}


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
