"""Rules for operations that move values: cut apart, accumulated along an axis, or kept above and below a diagonal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.lowering.operations.replay import Find, Rule

_LONGEST_SUM = 1024
"""Longer axes would need a matrix of over a million values."""

_LONGEST_PRODUCT = 32
"""Each step of a longer axis would lose a little more."""


def _cumulative_sum(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    import tensorflow as tf

    old, axis = operation.inputs[0], tf.get_static_value(operation.inputs[1])
    if not old.dtype.is_floating or axis is None or (old.shape[int(axis)] or _LONGEST_SUM + 1) > _LONGEST_SUM:
        return None
    return cumulative_sum(operation, find(old))


def cumulative_sum(operation: tf.Operation, values: tf.Tensor) -> tf.Tensor:
    """Sums of float values along the axis of a CUMSUM, as a product with a triangular matrix of ones."""
    import numpy as np
    import tensorflow as tf

    rank = len(values.shape)
    place = int(tf.get_static_value(operation.inputs[1])) % rank
    triangle = np.triu(np.ones([values.shape[place]] * 2, "float32"), 1 if operation.get_attr("exclusive") else 0)
    if operation.get_attr("reverse"):
        triangle = triangle[::-1, ::-1]
    matrix = tf.constant(np.ascontiguousarray(triangle))
    if place == rank - 1:
        return tf.tensordot(values, matrix, 1)
    order = [each for each in range(rank) if each != place] + [place]
    return tf.transpose(tf.tensordot(tf.transpose(values, order), matrix, 1), np.argsort(order))


def _band(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """A band of a matrix, chosen by a constant mask."""
    import numpy as np
    import tensorflow as tf

    old = operation.inputs[0]
    lower, upper = (tf.get_static_value(each) for each in operation.inputs[1:])
    if lower is None or upper is None or not old.dtype.is_floating:
        return None
    rows, columns = old.shape[-2:]
    distance = np.arange(columns) - np.arange(rows)[:, None]
    inside = ((lower < 0) | (-distance <= lower)) & ((upper < 0) | (distance <= upper))
    return find(old) * tf.constant(inside.astype("float32"))


def _diagonal(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """One diagonal of a matrix, gathered from fixed places."""
    import tensorflow as tf

    old, which = operation.inputs[0], tf.get_static_value(operation.inputs[1])
    if which is None or which.size != 1 or not old.shape.is_fully_defined():
        return None
    rows, columns = old.shape[-2:]
    offset = int(which.reshape(-1)[0])
    places = [row * columns + row + offset for row in range(rows) if 0 <= row + offset < columns]
    return tf.gather(tf.reshape(find(old), (*old.shape[:-2], rows * columns)), places, axis=-1)


def _diagonal_matrix(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """A matrix with a vector on its diagonal, as a product with the unit matrix: the int8 kernel writes steps of 0 beside it.

    The unit matrix itself, which Keras makes of a vector of ones, becomes a constant.
    """
    import numpy as np
    import tensorflow as tf

    old, *more = operation.inputs
    size, known = old.shape[-1], [tf.get_static_value(each) for each in more]
    if not old.dtype.is_floating or size is None or any(each is None or each.size != 1 for each in known):
        return None
    if known:  # which diagonal, rows, columns, and the number beside the diagonal; -1 for as many as needed
        which, rows, columns, beside = (each.reshape(-1)[0] for each in known)
        if which or beside or not {rows, columns} <= {-1, size}:
            return None
    unit = np.eye(size, dtype=old.dtype.as_numpy_dtype)
    values = tf.get_static_value(old)
    return tf.constant(values[..., None] * unit) if values is not None else find(old)[..., None] * tf.constant(unit)


def _parts(operation: tf.Operation, find: Find) -> list[tf.Tensor] | None:
    """The parts of a tensor as slices, if not all are read: the converter leaves UNPACK and SPLIT with an idle output in float."""
    import tensorflow as tf

    if operation.type == "Split":
        place, old = operation.inputs
        axis = tf.get_static_value(place)
    else:
        old, axis = operation.inputs[0], operation.get_attr("axis") if operation.type == "Unpack" else None
        if operation.type == "SplitV":
            axis = tf.get_static_value(operation.inputs[2])
    is_read = [bool(output.consumers()) for output in operation.outputs]
    if all(is_read) or axis is None or not old.dtype.is_floating:
        return None
    axis = int(axis) % len(old.shape)
    is_unpacked = operation.type == "Unpack"
    sizes = [1 if is_unpacked else output.shape[axis] for output in operation.outputs]
    tensor, parts, start = find(old), [], 0
    for size in sizes:
        begin = [start if each == axis else 0 for each in range(len(old.shape))]
        part = tf.slice(tensor, begin, [size if each == axis else -1 for each in range(len(old.shape))])
        parts.append(tf.squeeze(part, axis) if is_unpacked else part)
        start += size
    return parts


def _update(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """A part of a tensor replaced at a fixed place: chosen by a constant mask."""
    import numpy as np
    import tensorflow as tf

    old, part, *_ = operation.inputs
    starts = tf.get_static_value(operation.inputs[2])
    if starts is None or not old.dtype.is_floating or not old.shape.is_fully_defined():
        return None
    begins = [min(max(int(start), 0), size - width) for start, size, width in zip(starts, old.shape, part.shape, strict=True)]
    widths = [(begin, size - width - begin) for begin, size, width in zip(begins, old.shape, part.shape, strict=True)]
    inside = np.pad(np.ones(part.shape, bool), widths)
    return tf.where(tf.constant(inside), tf.pad(find(part), widths), find(old))


def _scattered(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """Single numbers replaced at fixed places: gathered into their places, and chosen by a constant mask."""
    import numpy as np
    import tensorflow as tf

    old, places, values = operation.inputs
    indices = tf.get_static_value(places)
    if indices is None or not old.shape.is_fully_defined() or not old.dtype.is_floating or indices.shape[-1] != len(old.shape):
        return None
    flat = np.ravel_multi_index(tuple(indices.reshape(-1, len(old.shape)).T), tuple(old.shape))
    source, inside = np.zeros(old.shape.num_elements(), np.int32), np.zeros(old.shape.num_elements(), bool)
    source[flat], inside[flat] = np.arange(len(flat)), True
    moved = tf.gather(tf.reshape(find(values), [-1]), source.reshape(tuple(old.shape)))
    return tf.where(tf.constant(inside.reshape(tuple(old.shape))), moved, find(old))


def _cumulative_product(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """Products along a short axis, step by step."""
    import tensorflow as tf

    old, axis = operation.inputs[0], tf.get_static_value(operation.inputs[1])
    if not old.dtype.is_floating or axis is None or (old.shape[int(axis)] or _LONGEST_PRODUCT + 1) > _LONGEST_PRODUCT:
        return None
    if operation.get_attr("exclusive") or operation.get_attr("reverse"):
        return None
    first, *steps = tf.unstack(find(old), axis=int(axis))
    products = [first]
    for step in steps:
        products.append(products[-1] * step)
    return tf.stack(products, axis=int(axis))


def _segment_sum(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """Sums of rows by fixed numbers, as a product with a matrix of zeros and ones."""
    import numpy as np
    import tensorflow as tf

    old, ids, count = operation.inputs
    segments, size = tf.get_static_value(ids), tf.get_static_value(count)
    if segments is None or size is None or segments.ndim != 1 or not old.dtype.is_floating:
        return None
    belongs = (np.arange(int(size))[:, None] == segments).astype("float32")
    return tf.tensordot(tf.constant(belongs), find(old), 1)


PLACES: dict[str, dict[str, Rule]] = {
    "cumulation": {"Cumsum": _cumulative_sum, "Cumprod": _cumulative_product, "UnsortedSegmentSum": _segment_sum},
    "update": {"XlaDynamicUpdateSlice": _update, "TensorScatterUpdate": _scattered},
    "band": {
        "MatrixBandPart": _band,
        "MatrixDiagPartV3": _diagonal,
        "MatrixDiag": _diagonal_matrix,
        "MatrixDiagV3": _diagonal_matrix,
    },
    "parts": {"Split": _parts, "SplitV": _parts, "Unpack": _parts},
}
