"""`tf.data` datasets, generators and other iterables as samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfopt.data.samples import Sample, Samples, bind
from tfopt.data.signature import TensorSpec
from tfopt.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf

_INFINITE = -1  # tf.data.INFINITE_CARDINALITY


def open_dataset(dataset: tf.data.Dataset, specs: Sequence[TensorSpec], labels: Any) -> Samples:
    """Makes `Samples` of a dataset, batched or not; its first element is read."""
    cardinality = int(dataset.cardinality().numpy())
    samples = open_iterable(dataset.as_numpy_iterator, specs, labels, "the dataset", may_be_endless=cardinality < 0)
    return dataclasses.replace(samples, endless=cardinality == _INFINITE)


def open_iterable(
    make_iterator: Callable[[], Iterable[Any]],
    specs: Sequence[TensorSpec],
    labels: Any,
    source: str,
    *,
    may_be_endless: bool,
) -> Samples:
    """Makes `Samples` of a function that returns an iterator; its first element is read.

    Args:
        make_iterator: called once for each pass over the data; its elements are inputs or (inputs, labels[, weights]), single
            samples or batches.
        specs: the model's inputs.
        labels: None, or an array with one row for each sample.
        source: the name of the data in messages.
        may_be_endless: whether the iterator may never end.

    Raises:
        DataError: there is no iterator or no element, the elements do not fit the inputs, or labels are given twice.
    """
    try:
        iterator = iter(make_iterator())
    except TypeError as error:
        raise DataError(
            f"A function must take no arguments and return an iterator. Received: {source}, whose call failed: {error}."
        ) from error
    first = next(iterator, None)
    if first is None:
        raise _no_samples(source)
    if labels is not None:
        labels = np.asarray(labels)
        if not labels.ndim:
            raise DataError(f"One label for each sample is required. Received: labels of shape () for {source}.")
    inputs, target = _split(first, specs)
    if labels is not None and target is not None:
        raise DataError(f"Labels must be given once. Received: `labels`, and {source} has labels too. Leave one out.")
    batched = _is_batched(bind(inputs, specs, source), specs)

    def read(indices: Sequence[int] | None = None) -> Iterator[Sample]:
        elements = (_named(element, specs, source) for element in make_iterator())
        stream = _counted(_rows(elements, source) if batched else elements, source)
        if labels is not None:
            stream = _with_labels(stream, labels, source)
        if indices is None:
            yield from stream
            return
        wanted = set(indices)
        yield from (sample for index, sample in enumerate(stream) if index in wanted)

    return Samples(source, None, read, target is not None or labels is not None, may_be_endless)


def _named(element: Any, specs: Sequence[TensorSpec], source: str) -> Sample:
    """An element, single or a batch, as (arrays by input name, labels)."""
    inputs, targets = _split(element, specs)
    return {name: np.asarray(value) for name, value in bind(inputs, specs, source).items()}, targets


def _rows(batches: Iterable[Sample], source: str) -> Iterator[Sample]:
    for values, targets in batches:
        sizes = {name: len(value) for name, value in values.items()}
        if targets is not None:
            targets = np.asarray(targets)
            sizes["labels"] = len(targets) if targets.ndim else 1
        if len(set(sizes.values())) > 1:
            raise DataError(f"All arrays of a batch must have as many samples. Received: {sizes} from {source}.")
        for row in range(next(iter(sizes.values()))):
            yield {name: value[row] for name, value in values.items()}, None if targets is None else targets[row]


def _counted(stream: Iterable[Sample], source: str) -> Iterator[Sample]:
    """The samples, of which there must be one at least."""
    is_empty = True
    for sample in stream:
        is_empty = False
        yield sample
    if is_empty:
        raise _no_samples(source)


def _with_labels(stream: Iterable[Sample], labels: npt.NDArray[Any], source: str) -> Iterator[Sample]:
    count = 0
    for inputs, _ in stream:
        if count == len(labels):
            raise DataError(f"As many labels as samples are required. Received: {count} labels for {source}, which has more.")
        yield inputs, labels[count]
        count += 1
    if count != len(labels):
        raise DataError(f"As many labels as samples, {count}, are required. Received: {len(labels)} labels for {source}.")


def _split(element: Any, specs: Sequence[TensorSpec]) -> tuple[Any, Any]:
    """(inputs, labels) of an element. Keras' rule: a tuple is (inputs, labels[, sample weights])."""
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
    # The labels of several outputs are in the order of the outputs, of which the first counts; a dict has no such order.
    return element[0], labels[0] if isinstance(labels, (tuple, list)) else None if isinstance(labels, dict) else labels


def _is_batched(values: Mapping[str, Any], specs: Sequence[TensorSpec]) -> bool:
    ranks = {spec.name: (np.asarray(values[spec.name]).ndim, len(spec.shape)) for spec in specs}
    if all(own == needed for own, needed in ranks.values()):
        return True
    if all(own == needed - 1 for own, needed in ranks.values()):
        return False
    raise DataError(
        f"Samples must fit the inputs {', '.join(map(str, specs))}. Received: arrays of rank "
        f"{', '.join(f'{own} for {name!r}' for name, (own, _) in ranks.items())}."
    )


def _no_samples(source: str) -> DataError:
    return DataError(f"At least one sample is required. Received: no samples from {source}.")
