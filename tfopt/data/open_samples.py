"""Anything that holds samples, opened: arrays, datasets, generators, files and folders of images."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from tfopt.data.arrays import open_arrays, read_labels
from tfopt.data.images import ImageFolder
from tfopt.data.numpy_files import open_npy, open_npz
from tfopt.data.samples import Samples, bind
from tfopt.data.scaling import Scale
from tfopt.data.signature import TensorSpec
from tfopt.data.streams import open_dataset, open_iterable
from tfopt.errors import DataError


def open_samples(
    data: Any, specs: Sequence[TensorSpec], *, labels: Any = None, scale: Scale | None = None, allow_large: bool = False
) -> Samples:
    """Makes `Samples` of anything that holds samples. Files are not read further than their headers.

    Example: `open_samples("images.npy", input_specs(model), labels="classes.npy")`

    Args:
        data: array (n, ...); tuple or list of arrays, one for each input in the model's order; dict of input name -> array;
            `tf.data.Dataset`, batched or not, or a function without arguments that returns an iterator (of inputs or of
            (inputs, labels)); a `keras.utils.PyDataset`; or the path of a `.npy` file, of a `.npz` file (arrays named as the
            inputs, or `x` and `y`), or of a folder of images (in sub-folders, one for each class, if they are labeled).
        specs: the model's inputs; dimensions may be None.
        labels: None, or array (n, ...) or the path of a `.npy` file.
        scale: None or the `Scale` of a folder of images.
        allow_large: whether the content of files may take any memory: see `sizes`.

    Raises:
        DataError: the data are of another kind, missing, damaged or too large, or do not have the model's inputs.
    """
    if isinstance(labels, (str, os.PathLike)):
        labels = read_labels(labels, open_npy(pathlib.Path(labels), allow_large=allow_large), allow_large=allow_large)
    if isinstance(data, (str, os.PathLike)):
        if os.path.isdir(data):
            return _open_images(pathlib.Path(data), specs, labels, scale, allow_large=allow_large)
        return _open_file(pathlib.Path(data), specs, labels, allow_large=allow_large)
    if hasattr(data, "__next__"):
        raise DataError(
            f"Data must be readable more than once. Received: {type(data).__name__}, which can be read once. "
            "Give the function that returns it, without calling the function."
        )
    if hasattr(data, "element_spec"):
        return open_dataset(data, specs, labels)
    if callable(data) and not hasattr(data, "__array__"):
        return open_iterable(data, specs, labels, "the generator function", may_be_endless=True)
    if hasattr(data, "__getitem__") and hasattr(data, "num_batches"):
        return open_iterable(
            lambda: (data[index] for index in range(len(data))), specs, labels, "the PyDataset", may_be_endless=False
        )
    return open_arrays(bind(data, specs, "the arrays"), specs, labels, "arrays in memory")


def _open_file(path: pathlib.Path, specs: Sequence[TensorSpec], labels: Any, *, allow_large: bool) -> Samples:
    if not path.is_file():
        raise DataError(f"The data file must exist. Received: {path}. Check the path.")
    if path.suffix == ".npz":
        return _open_archive(path, specs, labels, allow_large=allow_large)
    return open_arrays(bind(open_npy(path, allow_large=allow_large), specs, str(path)), specs, labels, str(path))


def _open_archive(path: pathlib.Path, specs: Sequence[TensorSpec], labels: Any, *, allow_large: bool) -> Samples:
    columns = open_npz(path, allow_large=allow_large)
    names = {spec.name for spec in specs}
    if len(specs) == 1 and "x" in columns and not names & set(columns):
        columns[specs[0].name] = columns.pop("x")
    if set(columns) - names == {"y"}:
        if labels is not None:
            raise DataError(f"Labels must be given once. Received: `labels`, and {path} has `y` too. Leave one out.")
        labels = read_labels(path, columns.pop("y"), allow_large=allow_large)
    return open_arrays(bind(columns, specs, str(path)), specs, labels, str(path))


def _open_images(
    folder: pathlib.Path, specs: Sequence[TensorSpec], labels: Any, scale: Scale | None, *, allow_large: bool
) -> Samples:
    if len(specs) != 1:
        raise DataError(
            f"A folder of images needs a model with one input. Received: {', '.join(map(str, specs))}. Give the data as .npz."
        )
    images = ImageFolder(folder, specs[0], scale, allow_large=allow_large)
    if labels is None and len(images.classes) > 1 and None not in images.class_ids:
        labels = images.class_ids
    return open_arrays({specs[0].name: images}, specs, labels, str(folder))
