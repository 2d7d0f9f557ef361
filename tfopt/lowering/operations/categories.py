"""Rules for categories: whole numbers that are looked up, counted, or carried as floats."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import tensorflow as tf

    from tfopt.lowering.operations.replay import Find, Rule

_WIDEST = 2**16
"""A table with a place for each whole number from the smallest key to the largest has at most so many places."""

_MOST = 2**20
"""Comparisons of ids with keys that a file may make in a run; beyond it, a lookup needs a place for each number."""

_MOVES = ("ExpandDims", "Identity", "Reshape", "Squeeze")
_CUTS = ("begin_mask", "ellipsis_mask", "end_mask", "new_axis_mask", "shrink_axis_mask")


def _counts(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """How often each id occurs, or whether it does, by comparison."""
    result = operation.outputs[0]
    return _counted(operation, result.dtype, find) if result.shape.is_fully_defined() else None


def _counts_as_float(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """Counts that are made floats are counted as floats, which become int8."""
    counts, dtype = operation.inputs[0], operation.outputs[0].dtype
    is_count = counts.op.type in ("Bincount", "DenseBincount") and counts.shape.is_fully_defined()
    return _counted(counts.op, dtype, find) if is_count and dtype.is_floating else None


def _counted(operation: tf.Operation, dtype: tf.DType, find: Find) -> tf.Tensor:
    import tensorflow as tf

    ids, _, weights = operation.inputs
    is_there = tf.equal(find(ids)[..., None], tf.range(operation.outputs[0].shape[-1], dtype=ids.dtype))
    if operation.type == "DenseBincount" and operation.get_attr("binary_output"):
        return _chosen(tf.reduce_any(is_there, -2), dtype)
    counted = _chosen(is_there, dtype)
    if weights.shape.num_elements() != 0:
        counted *= tf.cast(find(weights), dtype)[..., None]
    return tf.reduce_sum(counted, -2)


def _chosen(truth: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """1 for true, 0 for false."""
    import tensorflow as tf

    return tf.where(truth, tf.ones(truth.shape, dtype), tf.zeros(truth.shape, dtype))


def _looked_up(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """The value of each key of a table of whole numbers: by its place, or by comparison with all keys."""
    import numpy as np
    import tensorflow as tf

    handle, ids, default = operation.inputs
    other = tf.get_static_value(default)
    if not ids.dtype.is_integer or not default.dtype.is_integer or other is None or not ids.shape.is_fully_defined():
        return None
    keys, values = _contents(find(handle), ids.dtype, default.dtype)
    if not len(keys):
        return tf.fill(ids.shape, default.dtype.as_numpy_dtype(other))
    given = find(ids)
    lowest, count = int(keys.min()), int(keys.max()) - int(keys.min()) + 1
    if count <= _WIDEST:
        places = np.full(count + 1, other, default.dtype.as_numpy_dtype)
        places[keys - lowest] = values
        is_within = tf.logical_and(given >= keys.min(), given <= keys.max())
        return tf.gather(places, tf.where(is_within, given - keys.min(), tf.fill(ids.shape, ids.dtype.as_numpy_dtype(count))))
    if ids.shape.num_elements() * len(keys) > _MOST:
        return None
    is_there = tf.equal(given[..., None], keys)
    difference = tf.where(is_there, tf.broadcast_to(values - other, is_there.shape), tf.zeros(is_there.shape, default.dtype))
    return tf.reduce_sum(difference, -1) + default.dtype.as_numpy_dtype(other)


def _contents(handle: tf.Tensor, key: tf.DType, value: tf.DType) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]:
    """(keys, values) of a table, outside of the graph that is being made."""
    import tensorflow as tf

    with tf.init_scope():
        keys, values = tf.raw_ops.LookupTableExportV2(table_handle=handle, Tkeys=key, Tvalues=value)
        return keys.numpy(), values.numpy()


def _whole(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """Whole numbers that were made floats and are made whole numbers again, as Keras does with the inputs of its models."""
    import tensorflow as tf

    def whole(tensor: tf.Tensor) -> tf.Tensor | None:
        """The whole numbers that a float tensor holds."""
        made = tensor.op
        if made.type == "Cast" and made.inputs[0].dtype.is_integer:
            return find(made.inputs[0])
        if made.type in _MOVES and tensor.shape.is_fully_defined():
            before = whole(made.inputs[0])
            return None if before is None else tf.reshape(before, tensor.shape)
        if made.type == "StridedSlice":
            before = whole(made.inputs[0])
            masks = {name: made.get_attr(name) for name in _CUTS}
            names = ("begin", "end", "strides")
            bounds = {name: find(each) for name, each in zip(names, made.inputs[1:], strict=True)}
            return None if before is None else tf.raw_ops.StridedSlice(input=before, **bounds, **masks)
        return None

    dtype = operation.outputs[0].dtype
    found = whole(operation.inputs[0]) if dtype.is_integer and operation.inputs[0].dtype.is_floating else None
    return None if found is None else tf.cast(found, dtype)


CATEGORIES: dict[str, dict[str, Rule]] = {
    "counting": {"Bincount": _counts, "DenseBincount": _counts, "Cast": _counts_as_float},
    "lookup": {"LookupTableFindV2": _looked_up},
    "whole_numbers": {"Cast": _whole},
}
