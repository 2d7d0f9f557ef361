"""Open anything that holds samples: arrays, datasets, generators, files and folders of images."""

import pathlib

from tfopt.data import files
from tfopt.data.images import ImageFolder
from tfopt.data.samples import bind, open_arrays
from tfopt.data.streams import open_dataset, open_iterable
from tfopt.errors import DataError


def open_samples(data, specs, *, labels=None, scale=None):
    """Makes `Samples` of anything that holds samples. Nothing but headers is read here.

    Args:
        data: array (n, ...); tuple or list of arrays, one per input in the model's order; dict of input name -> array;
            `tf.data.Dataset`, batched or not, or a function without arguments that returns an iterator (of inputs or of
            (inputs, labels)); a `keras.utils.PyDataset`; or the path of a `.npy` file, a `.npz` file (arrays named as the
            inputs, or `x` and `y`), or a folder of images (in sub-folders, one per class, if they are labelled).
        specs: list of `signature.TensorSpec`, the model's inputs; sizes may be open.
        labels: None, or array (n, ...) or path of a `.npy` file.
        scale: None or a key of `data_files.SCALES`: to what range an image folder's 0..255 are brought.

    Returns:
        `Samples`.

    Raises:
        DataError: the data are of another kind, are missing or damaged, or do not have the model's inputs.
    """
    if isinstance(labels, (str, pathlib.Path)):
        labels = read_all(files.open_npy(pathlib.Path(labels)))
    if isinstance(data, (str, pathlib.Path)):
        return _open_path(pathlib.Path(data), specs, labels, scale)
    if hasattr(data, "__next__"):
        raise DataError(
            f"Data must be readable more than once. Received: {type(data).__name__}, which can be read once. "
            "Give the function that makes it, without calling it."
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


def _open_path(path, specs, labels, scale):
    if path.is_dir():
        return _open_images(path, specs, labels, scale)
    if not path.is_file():
        raise DataError(f"Data must exist. Received: {path}, which does not. Check the path.")
    if path.suffix == ".npz":
        return _open_archive(path, specs, labels)
    return open_arrays(bind(files.open_npy(path), specs, str(path)), specs, labels, str(path))


def _open_archive(path, specs, labels):
    columns = files.open_npz(path)
    names = {spec.name for spec in specs}
    if len(specs) == 1 and "x" in columns and not names & set(columns):
        columns[specs[0].name] = columns.pop("x")
    if set(columns) - names == {"y"}:
        if labels is not None:
            raise DataError(f"Labels must be given once. Received: `labels`, and {path} has `y` too. Leave one out.")
        labels = read_all(columns.pop("y"))
    return open_arrays(bind(columns, specs, str(path)), specs, labels, str(path))


def _open_images(folder, specs, labels, scale):
    if len(specs) != 1:
        raise DataError(
            f"A folder of images needs a model with one input. Received: {', '.join(map(str, specs))}. Give the data as .npz."
        )
    images = ImageFolder(folder, specs[0], scale)
    if labels is None and len(images.classes) > 1 and None not in images.class_ids:
        labels = images.class_ids
    return open_arrays({specs[0].name: images}, specs, labels, str(folder))


def read_all(column):
    if not column.shape:
        raise DataError("As many labels as samples are required. Received: labels that are one number.")
    return list(column.rows(range(column.shape[0])))
