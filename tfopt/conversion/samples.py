"""One way to read data of every kind, a sample at a time: arrays, datasets, generators, `.npy`, `.npz`, image folders."""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable

import numpy as np

from tfopt.conversion import data_files
from tfopt.errors import DataError

_INFINITE = -1  # tf.data.INFINITE_CARDINALITY


@dataclasses.dataclass(frozen=True)
class Samples:
    """Data that are read when asked for, one sample (without batch dimension) at a time.

    Attributes:
        source: str, how messages name the data.
        count: int, or None where only reading tells.
        read: `read(indices)` yields (inputs, label) of those samples in rising order, of all for None. `inputs` is a dict by
            input name, `label` is None where there is none.
        labelled: bool, whether samples come with labels.
        may_be_endless: bool, whether reading all of them may never end: a generator, a repeated dataset.
        endless: bool, whether it surely does not.
    """

    source: str
    count: int | None
    read: Callable
    labelled: bool
    may_be_endless: bool = False
    endless: bool = False


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
        labels = _read_all(data_files.open_npy(pathlib.Path(labels)))
    if isinstance(data, (str, pathlib.Path)):
        return _open_path(pathlib.Path(data), specs, labels, scale)
    if hasattr(data, "__next__"):
        raise DataError(
            f"Data must be readable more than once. Received: {type(data).__name__}, which can be read once. "
            "Give the function that makes it, without calling it."
        )
    if hasattr(data, "element_spec"):
        return _open_dataset(data, specs, labels)
    if callable(data) and not hasattr(data, "__array__"):
        return _open_iterable(data, specs, labels, "the generator function", may_be_endless=True)
    if hasattr(data, "__getitem__") and hasattr(data, "num_batches"):
        return _open_iterable(
            lambda: (data[index] for index in range(len(data))), specs, labels, "the PyDataset", may_be_endless=False
        )
    return _open_arrays(_bind(data, specs, "the arrays"), specs, labels, "arrays in memory")


def _open_arrays(columns, specs, labels, source):
    columns = {name: column if hasattr(column, "rows") else _as_array(column, name, source) for name, column in columns.items()}
    for name, column in columns.items():
        if not column.shape:
            raise DataError(f"Input {name!r} needs an array of samples. Received: a single number in {source}.")
    counts = {name: int(column.shape[0]) for name, column in columns.items()}
    count = counts[specs[0].name]
    if len(set(counts.values())) > 1:
        raise DataError(f"All inputs must have as many samples. Received: {counts} in {source}.")
    _require_count(count, source)
    labels = _checked_labels(labels, count)

    def read(indices=None):
        indices = range(count) if indices is None else indices
        streams = [_rows(columns[spec.name], indices) for spec in specs]
        targets = itertools.repeat(None) if labels is None else _rows(labels, indices)
        for *values, label in zip(*streams, targets):  # noqa: B905 (`repeat` has no end)
            yield {spec.name: value for spec, value in zip(specs, values, strict=True)}, label

    return Samples(source, count, read, labels is not None)


def _open_dataset(dataset, specs, labels):
    cardinality = int(dataset.cardinality().numpy())
    samples = _open_iterable(dataset.as_numpy_iterator, specs, labels, "the dataset", may_be_endless=cardinality < 0)
    return dataclasses.replace(samples, endless=cardinality == _INFINITE)


def _open_iterable(make_iterator, specs, labels, source, *, may_be_endless):
    try:
        iterator = iter(make_iterator())
    except TypeError as error:
        raise DataError(
            f"A function must take no arguments and return an iterator. Received: {source}, with which this fails: {error}."
        ) from error
    first = next(iterator, None)
    if first is None:
        raise DataError(f"At least one sample is required. Received: none from {source}.")
    if labels is not None:
        labels = np.asarray(labels)
        if not labels.ndim:
            raise DataError(f"One label for each sample is required. Received: labels of shape () for {source}.")
    inputs, target = _split(first, specs)
    if labels is not None and target is not None:
        raise DataError(f"Labels must be given once. Received: `labels`, and {source} has labels too. Leave one out.")
    batched = _is_batched(_bind(inputs, specs, source), specs)

    def elements():
        count = 0
        for element in make_iterator():
            inputs, targets = _split(element, specs)
            values = {name: np.asarray(value) for name, value in _bind(inputs, specs, source).items()}
            if not batched:
                yield values, targets
                count += 1
                continue
            sizes = {name: len(value) for name, value in values.items()}
            if targets is not None:
                targets = np.asarray(targets)
                sizes["labels"] = len(targets) if targets.ndim else 1
            if len(set(sizes.values())) > 1:
                raise DataError(f"All arrays of a batch must have as many samples. Received: {sizes} from {source}.")
            for row in range(len(values[specs[0].name])):
                yield {name: value[row] for name, value in values.items()}, None if targets is None else targets[row]
                count += 1
        if not count:
            raise DataError(f"At least one sample is required. Received: none from {source}.")

    def read(indices=None):
        stream = elements() if labels is None else _with_labels(elements(), labels, source)
        if indices is None:
            yield from stream
            return
        wanted = set(indices)
        yield from (sample for index, sample in enumerate(stream) if index in wanted)

    return Samples(source, None, read, target is not None or labels is not None, may_be_endless)


def _with_labels(stream, labels, source):
    count = 0
    for inputs, _ in stream:
        if count == len(labels):
            raise DataError(f"As many labels as samples are required. Received: {count} labels for {source}, which has more.")
        yield inputs, labels[count]
        count += 1
    if count != len(labels):
        raise DataError(f"As many labels as samples, {count}, are required. Received: {len(labels)} labels for {source}.")


def _open_path(path, specs, labels, scale):
    if path.is_dir():
        return _open_images(path, specs, labels, scale)
    if not path.is_file():
        raise DataError(f"Data must exist. Received: {path}, which does not. Check the path.")
    if path.suffix == ".npz":
        return _open_archive(path, specs, labels)
    return _open_arrays(_bind(data_files.open_npy(path), specs, str(path)), specs, labels, str(path))


def _open_archive(path, specs, labels):
    columns = data_files.open_npz(path)
    names = {spec.name for spec in specs}
    if len(specs) == 1 and "x" in columns and not names & set(columns):
        columns[specs[0].name] = columns.pop("x")
    if set(columns) - names == {"y"}:
        if labels is not None:
            raise DataError(f"Labels must be given once. Received: `labels`, and {path} has `y` too. Leave one out.")
        labels = _read_all(columns.pop("y"))
    return _open_arrays(_bind(columns, specs, str(path)), specs, labels, str(path))


def _open_images(folder, specs, labels, scale):
    if len(specs) != 1:
        raise DataError(
            f"A folder of images needs a model with one input. Received: {', '.join(map(str, specs))}. Give the data as .npz."
        )
    images = data_files.ImageFolder(folder, specs[0], scale)
    if labels is None and len(images.classes) > 1 and None not in images.class_ids:
        labels = images.class_ids
    return _open_arrays({specs[0].name: images}, specs, labels, str(folder))


def _bind(data, specs, source):
    """Names the inputs: {input name: array}, in the model's order."""
    names = [spec.name for spec in specs]
    if isinstance(data, dict):
        if set(data) == set(names):
            return {name: data[name] for name in names}
        if len(data) == len(names) == 1 and set(data) == {"x"}:
            return {names[0]: data["x"]}
        missing, unknown = sorted(set(names) - set(data)), sorted(set(data) - set(names))
        raise DataError(
            f"The arrays must be named as the inputs, {names}. Received: {source} without {missing} and with {unknown}."
        )
    listed = isinstance(data, list) and len(data) == 1 and np.ndim(data[0]) == len(specs[0].shape)
    if len(names) == 1 and not isinstance(data, tuple) and not listed:
        return {names[0]: data}
    if not isinstance(data, (tuple, list)) or len(data) != len(names):
        parts = f"{len(data)} arrays" if isinstance(data, (tuple, list)) else f"one {type(data).__name__}"
        raise DataError(f"One array for each of the inputs {names} is required. Received: {parts} in {source}.")
    return dict(zip(names, data, strict=True))


def _as_array(column, name, source):
    try:
        return np.asanyarray(column)
    except ValueError as error:  # lists of unequal lengths
        raise DataError(f"Input {name!r} needs one array. Received: {error} in {source}.") from error


def _split(element, specs):
    """(inputs, labels) of what a dataset or generator yields. Keras' rule: a tuple is (inputs, labels[, sample weights])."""
    if not isinstance(element, tuple):
        return element, None
    several = len(specs) > 1 and not isinstance(element[0], (tuple, list, dict))
    if several and len(element) == len(specs):
        return element, None
    if len(element) > 3 or several:
        raise DataError(
            f"Each element must be inputs or (inputs, labels), for the inputs {[spec.name for spec in specs]}. "
            f"Received: a tuple of {len(element)}."
        )
    labels = element[1] if len(element) > 1 else None
    # Of several outputs' labels the first output's are used; a dict does not say which these are.
    return element[0], labels[0] if isinstance(labels, (tuple, list)) else None if isinstance(labels, dict) else labels


def _is_batched(values, specs):
    ranks = {spec.name: (np.asarray(values[spec.name]).ndim, len(spec.shape)) for spec in specs}
    if all(own == needed for own, needed in ranks.values()):
        return True
    if all(own == needed - 1 for own, needed in ranks.values()):
        return False
    raise DataError(
        f"Samples must fit the inputs {', '.join(map(str, specs))}. Received: arrays of rank "
        f"{', '.join(f'{own} for {name!r}' for name, (own, _) in ranks.items())}."
    )


def _read_all(column):
    if not column.shape:
        raise DataError("As many labels as samples are required. Received: labels that are one number.")
    return list(column.rows(range(column.shape[0])))


def _rows(column, indices):
    if hasattr(column, "rows"):
        return column.rows(indices)
    return (column[index] for index in indices)


def _checked_labels(labels, count):
    if labels is None:
        return None
    if isinstance(labels, (dict, tuple)):
        raise DataError(
            f"Labels must be one array, for the first output. Received: a {type(labels).__name__} of {len(labels)}. Give that one."
        )
    try:
        labels = np.asarray(labels)
    except ValueError as error:
        raise DataError(f"Labels must be one array, for the first output. Received: {error}.") from error
    if labels.dtype.kind not in "iubf":
        raise DataError(f"Labels must be class ids or one-hot rows. Received: an array of {labels.dtype}. Number the classes.")
    if labels.ndim == 0 or len(labels) != count:
        raise DataError(f"As many labels as samples, {count}, are required. Received: labels of shape {labels.shape}.")
    return labels


def _require_count(count, source):
    if not count:
        raise DataError(f"At least one sample is required. Received: none in {source}.")
