"""Rules for choices between values: their operation gives all of its inputs the range of its output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfopt.lowering.operations.given_ranges import ALMOST_ONE, have_one_range
from tfopt.lowering.operations.places import cumulative_sum

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.lowering.operations.replay import Find, Rule

# Their outputs have a range of their own, which nobody misses if it becomes that of the choice.
_WITH_OWN_RANGE = ("Add", "AddV2", "BiasAdd", "Conv2D", "DepthwiseConv2dNative", "MatMul", "BatchMatMulV2", "Mul", "RealDiv", "Sub")


def _ranged_apart(old: tf.Tensor, find: Find) -> tf.Tensor:
    """A tensor's values in a tensor whose range is free to be that of a choice.

    TFLite computes MAXIMUM, MINIMUM and SELECT on numbers of one scale, and the converter then gives the range of the result to all
    inputs. It may be narrower, which is fine for the choice itself, but cuts off values that other operations read. A leaky ReLU
    changes nothing but the scale, and is the fastest operation that does so.
    """
    import tensorflow as tf

    is_alone = old.op.type in _WITH_OWN_RANGE and len(old.consumers()) == 1
    is_constant = tf.get_static_value(old) is not None
    return find(old) if is_alone or is_constant else tf.nn.leaky_relu(find(old), alpha=ALMOST_ONE)


def _extreme(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """The larger or the smaller of two tensors; `max(x, 0)` is ReLU."""
    import numpy as np
    import tensorflow as tf

    one, other = operation.inputs
    if not one.dtype.is_floating:
        return None
    is_maximum = operation.type == "Maximum"
    for tensor, limit in ((one, other), (other, one)):
        value = tf.get_static_value(limit)
        if is_maximum and value is not None and not np.any(value) and limit.shape.num_elements() == 1:
            return tf.nn.relu(find(tensor))
    compute = tf.maximum if is_maximum else tf.minimum
    return compute(_ranged_apart(one, find), _ranged_apart(other, find))


def _choice(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """`where(condition, a, b)`; a test for the negative zero, which int8 does not have, chooses nothing."""
    import tensorflow as tf

    condition, one, other = operation.inputs
    if not one.dtype.is_floating:
        return None
    value = tf.get_static_value(one)
    if value is not None and value.size == 1 and 0 < abs(value.item()) < 1e-30:  # `keras.ops.argmax` ranks -0 below 0
        return find(other)
    if have_one_range([one, other]):
        return tf.where(find(condition), find(one), find(other))
    return tf.where(find(condition), _ranged_apart(one, find), _ranged_apart(other, find))


def _converted(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """CAST from and to float, which has no integer form: truth as 1 and 0, a number as truth, and a place along an axis."""
    import tensorflow as tf

    (old,) = operation.inputs
    count = _places(old)
    if count is not None and operation.outputs[0].dtype.is_floating:
        return tf.gather(tf.range(count, dtype=operation.outputs[0].dtype), find(old))
    if old.dtype.is_floating and operation.outputs[0].dtype == tf.bool:
        return _differ(find(old), tf.zeros((), old.dtype))
    if old.dtype.is_integer and operation.outputs[0].dtype.is_floating and _counts_truth(old):
        return _in_float(old, find)
    if old.dtype != tf.bool or not operation.outputs[0].dtype.is_floating or tf.get_static_value(old) is not None:
        return None
    return tf.where(find(old), tf.ones(old.shape), tf.zeros(old.shape))


_SHAPES = ("ExpandDims", "Reshape", "Squeeze", "Transpose")
_INTEGER_SUMS = ("Add", "AddV2", "Cumsum", "Mul", "Sub")


def _counts_truth(tensor: tf.Tensor) -> bool:
    """Whether whole numbers are sums and products of truth as 1 and 0, such as the positions of the tokens that are not masked."""
    import tensorflow as tf

    if tf.get_static_value(tensor) is not None:
        return True
    if tensor.op.type == "Cast":
        return tensor.op.inputs[0].dtype == tf.bool or (tensor.dtype.is_integer and _counts_truth(tensor.op.inputs[0]))
    numbers = tensor.op.inputs[:1] if tensor.op.type in ("Cumsum", *_SHAPES) else tensor.op.inputs
    return tensor.op.type in (*_INTEGER_SUMS, *_SHAPES) and all(_counts_truth(each) for each in numbers)


def _in_float(tensor: tf.Tensor, find: Find) -> tf.Tensor:
    """Such whole numbers computed in float, which becomes int8."""
    import tensorflow as tf

    value = tf.get_static_value(tensor)
    if value is not None:
        return tf.constant(value.astype("float32"))
    source = tensor.op.inputs[0]
    if tensor.op.type == "Cast":
        return (
            tf.where(find(source), tf.ones(source.shape), tf.zeros(source.shape))
            if source.dtype == tf.bool
            else _in_float(source, find)
        )
    if tensor.op.type in _SHAPES:
        values = _in_float(source, find)
        return (
            tf.transpose(values, find(tensor.op.inputs[1])) if tensor.op.type == "Transpose" else tf.reshape(values, tensor.shape)
        )
    if tensor.op.type == "Cumsum":
        return cumulative_sum(tensor.op, _in_float(source, find))
    one, other = (_in_float(each, find) for each in tensor.op.inputs)
    return one * other if tensor.op.type == "Mul" else one - other if tensor.op.type == "Sub" else one + other


def _places(tensor: tf.Tensor) -> int | None:
    """How many values an index along an axis can have; None for other tensors."""
    import tensorflow as tf

    if tensor.op.type == "Cast" and tensor.dtype.is_integer:
        return _places(tensor.op.inputs[0])
    if tensor.op.type in ("ArgMax", "ArgMin"):
        axis = tf.get_static_value(tensor.op.inputs[1])
        return None if axis is None else tensor.op.inputs[0].shape[int(axis)]
    return tensor.op.inputs[0].shape[-1] if tensor.op.type == "TopKV2" and tensor is tensor.op.outputs[1] else None


def _different(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """`a != b` as `a > b or a < b`; a number that differs from itself is NaN, which int8 does not have."""
    import numpy as np
    import tensorflow as tf

    one, other = operation.inputs
    if not one.dtype.is_floating:
        return None
    if one is other:
        return tf.zeros(one.shape, tf.bool)
    for numbers, limit in ((one, other), (other, one)):
        value = tf.get_static_value(limit)
        if (
            value is not None
            and numbers.op.type == "Cast"
            and numbers.op.inputs[0].dtype.is_integer
            and (value == np.rint(value)).all()
        ):
            whole = numbers.op.inputs[0]  # ids that were cast, as Keras does to compare them
            return tf.not_equal(find(whole), tf.constant(value.astype(whole.dtype.as_numpy_dtype)))
    return _differ(find(one), find(other))


def _differ(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    # The converter would make NOT_EQUAL of `not (a == b)`.
    return tf.logical_or(one > other, one < other)


def _nowhere(operation: tf.Operation, find: Find) -> tf.Tensor:
    """False: int8 has no NaN and no infinity."""
    import tensorflow as tf

    return tf.zeros(operation.outputs[0].shape, tf.bool)


def _everywhere(operation: tf.Operation, find: Find) -> tf.Tensor:
    """True: all numbers of int8 are finite."""
    import tensorflow as tf

    return tf.ones(operation.outputs[0].shape, tf.bool)


def _sign_bit(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """The sign bit of a float is set where it is below 0, but for the negative zero, which int8 does not have."""
    import numpy as np
    import tensorflow as tf

    old = operation.inputs[0].op
    bit = tf.get_static_value(operation.inputs[1])
    if old.type != "Bitcast" or not old.inputs[0].dtype.is_floating or bit is None or np.any(bit != np.iinfo(bit.dtype).min):
        return None
    tensor = find(old.inputs[0])
    return tf.where(tensor < 0.0, tf.constant(bit), tf.zeros_like(tf.constant(bit)))


def _one_hot(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """1 at the place that an id names, by comparison: ONE_HOT does not scale its two values."""
    import tensorflow as tf

    ids, depth, on, off = operation.inputs
    count, high, low = (tf.get_static_value(each) for each in (depth, on, off))
    if count is None or high is None or low is None or not on.dtype.is_floating:
        return None
    axis = operation.get_attr("axis")
    axis = len(ids.shape) if axis == -1 else axis
    places = tf.reshape(tf.range(count, dtype=ids.dtype), [count if each == axis else 1 for each in range(len(ids.shape) + 1)])
    is_there = tf.equal(tf.expand_dims(find(ids), axis), places)
    return tf.where(is_there, tf.fill(is_there.shape, high), tf.fill(is_there.shape, low))


def _average(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """An average that is joined with others: it has the range of its input, and the joined tensor a narrower one."""
    import tensorflow as tf

    is_joined = any(each.type == "ConcatV2" for each in operation.outputs[0].consumers())
    if not is_joined or set(operation.get_attr("strides")) != {1} or operation.get_attr("data_format") != b"NHWC":
        return None
    padding = operation.get_attr("padding").decode()
    pooled = tf.nn.avg_pool2d(find(operation.inputs[0]), operation.get_attr("ksize"), 1, padding)
    return tf.nn.leaky_relu(pooled, alpha=ALMOST_ONE)


_CUTS = ("Slice", "Split", "SplitV", "StridedSlice")
_MOVES = (*_CUTS, "ExpandDims", "GatherV2", "Reshape", "Squeeze", "Transpose")


def _joined(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """Parts of a tensor that is also read as a whole, joined with others: the whole keeps its range."""
    import tensorflow as tf

    *parts, axis = operation.inputs
    shared = [_is_part_of_shared(part) for part in parts]
    if not operation.outputs[0].dtype.is_floating or not any(shared):
        return None
    apart = [
        tf.nn.leaky_relu(find(part), alpha=ALMOST_ONE) if is_shared else find(part)
        for part, is_shared in zip(parts, shared, strict=True)
    ]
    return tf.concat(apart, tf.get_static_value(axis))


def _is_part_of_shared(tensor: tf.Tensor) -> bool:
    """Whether a tensor was cut out of one that other operations than cuts read."""
    is_cut = False
    while tensor.op.type in _MOVES:
        is_cut |= tensor.op.type in _CUTS
        tensor = tensor.op.inputs[1 if tensor.op.type == "Split" else 0]
        if is_cut and any(reader.type not in _CUTS for reader in tensor.consumers()):
            return True
    return False


SELECTION: dict[str, dict[str, Rule]] = {
    "merging": {"Maximum": _extreme, "Minimum": _extreme},
    "choice": {
        "SelectV2": _choice,
        "Select": _choice,
        "Cast": _converted,
        "NotEqual": _different,
        "BitwiseAnd": _sign_bit,
        "IsNan": _nowhere,
        "IsInf": _nowhere,
        "IsFinite": _everywhere,
    },
    "joining": {"AvgPool": _average, "ConcatV2": _joined},
    "one_hot": {"OneHot": _one_hot},
}
