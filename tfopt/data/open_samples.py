"""Anything that holds samples, opened: arrays, datasets, generators, files and folders of images."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from tfopt.data.arrays import open_arrays, read_all
from tfopt.data.images import ImageFolder
from tfopt.data.numpy_files import open_npy, open_npz
from tfopt.data.samples import Samples, bind
from tfopt.data.scaling import Scale
from tfopt.data.signature import TensorSpec
from tfopt.data.streams import open_dataset, open_iterable
from tfopt.errors import DataError


def open_samples(data: Any, specs: Sequence[TensorSpec], *, labels: Any = None, scale: Scale | None = None) -> Samples:
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

    Raises:
        DataError: the data are of another kind, missing or damaged, or do not have the model's inputs.
    """
    if isinstance(labels, (str, os.PathLike)):
        labels = read_all(open_npy(pathlib.Path(labels)))
    if isinstance(data, (str, os.PathLike)):
        return _open_path(pathlib.Path(data), specs, labels, scale)
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


def _open_path(path: pathlib.Path, specs: Sequence[TensorSpec], labels: Any, scale: Scale | None) -> Samples:
    if path.is_dir():
        return _open_images(path, specs, labels, scale)
    if not path.is_file():
        raise DataError(f"The data file must exist. Received: {path}. Check the path.")
    if path.suffix == ".npz":
        return _open_archive(path, specs, labels)
    return open_arrays(bind(open_npy(path), specs, str(path)), specs, labels, str(path))


def _open_archive(path: pathlib.Path, specs: Sequence[TensorSpec], labels: Any) -> Samples:
    columns = open_npz(path)
    names = {spec.name for spec in specs}
    if len(specs) == 1 and "x" in columns and not names & set(columns):
        columns[specs[0].name] = columns.pop("x")
    if set(columns) - names == {"y"}:
        if labels is not None:
            raise DataError(f"Labels must be given once. Received: `labels`, and {path} has `y` too. Leave one out.")
        labels = read_all(columns.pop("y"))
    return open_arrays(bind(columns, specs, str(path)), specs, labels, str(path))


def _open_images(folder: pathlib.Path, specs: Sequence[TensorSpec], labels: Any, scale: Scale | None) -> Samples:
    if len(specs) != 1:
        raise DataError(
            f"A folder of images needs a model with one input. Received: {', '.join(map(str, specs))}. Give the data as .npz."
        )
    images = ImageFolder(folder, specs[0], scale)
    if labels is None and len(images.classes) > 1 and None not in images.class_ids:
        labels = images.class_ids
    return open_arrays({specs[0].name: images}, specs, labels, str(folder))
