"""Open `tf.data` datasets, generators and other iterables as samples."""

import dataclasses

import numpy as np

from tfopt.data.samples import Samples, bind
from tfopt.errors import DataError

_INFINITE = -1  # tf.data.INFINITE_CARDINALITY


def open_dataset(dataset, specs, labels):
    cardinality = int(dataset.cardinality().numpy())
    samples = open_iterable(dataset.as_numpy_iterator, specs, labels, "the dataset", may_be_endless=cardinality < 0)
    return dataclasses.replace(samples, endless=cardinality == _INFINITE)


def open_iterable(make_iterator, specs, labels, source, *, may_be_endless):
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
    batched = _is_batched(bind(inputs, specs, source), specs)

    def elements():
        count = 0
        for element in make_iterator():
            inputs, targets = _split(element, specs)
            values = {name: np.asarray(value) for name, value in bind(inputs, specs, source).items()}
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
        stream = elements() if labels is None else with_labels(elements(), labels, source)
        if indices is None:
            yield from stream
            return
        wanted = set(indices)
        yield from (sample for index, sample in enumerate(stream) if index in wanted)

    return Samples(source, None, read, target is not None or labels is not None, may_be_endless)


def with_labels(stream, labels, source):
    count = 0
    for inputs, _ in stream:
        if count == len(labels):
            raise DataError(f"As many labels as samples are required. Received: {count} labels for {source}, which has more.")
        yield inputs, labels[count]
        count += 1
    if count != len(labels):
        raise DataError(f"As many labels as samples, {count}, are required. Received: {len(labels)} labels for {source}.")


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
