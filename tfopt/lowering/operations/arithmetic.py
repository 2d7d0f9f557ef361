"""Rules for arithmetic whose operation has no int8 kernel, though the same number comes from others that have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tfopt.lowering.operations.elementwise import is_in_gelu

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.lowering.operations.replay import Find, Rule


def _negation(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """`-x = x * -1`; integers stay, and so do negations by which the converter knows an exact GELU and a PReLU."""
    (old,) = operation.inputs
    readers = operation.outputs[0].consumers()
    further = [each for reader in readers if reader.type == "Mul" for each in reader.outputs[0].consumers()]
    if not old.dtype.is_floating or any(each.type == "Erfc" and is_in_gelu(each) for each in further):
        return None
    if any(_is_in_prelu(each) for each in (*readers, *further, *_after(readers, "Relu"))):
        return None
    return find(old) * -1.0


def _after(operations: Sequence[tf.Operation], kind: str) -> list[tf.Operation]:
    return [reader for each in operations if each.type == kind for reader in each.outputs[0].consumers()]


def _is_in_prelu(product: tf.Operation) -> bool:
    """Whether a product is the part below 0 of `relu(x) + (-a) relu(-x)` (arXiv:1502.01852)."""
    if product.type != "Mul":
        return False
    for slope, part in _both_ways(product.inputs):
        if slope.op.type == "Neg" and part.op.type == "Relu" and part.op.inputs[0].op.type == "Neg":
            x = part.op.inputs[0].op.inputs[0]
            sums = [each for each in product.outputs[0].consumers() if each.type in ("Add", "AddV2")]
            return any(term.op.type == "Relu" and term.op.inputs[0] is x for each in sums for term in each.inputs)
    return False


def _square(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """`x^2 = x x`."""
    (old,) = operation.inputs
    return find(old) * find(old) if old.dtype.is_floating else None


def _sum_of_two(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """`sum(f(stack([a, b]))) = f(a) + f(b)`, f being a square or nothing: the size of a complex number in two parts."""
    import tensorflow as tf

    old, axes = operation.inputs
    is_square = old.op.type == "Square"
    stack = old.op.inputs[0].op if is_square else old.op
    axis = tf.get_static_value(axes)
    if stack.type != "Pack" or len(stack.inputs) != 2 or not old.dtype.is_floating or axis is None or axis.size != 1:
        return None
    rank = old.shape.rank
    if int(axis.reshape(-1)[0]) % rank != stack.get_attr("axis") % rank:
        return None
    one, other = (find(each) for each in stack.inputs)
    total = one * one + other * other if is_square else one + other
    return tf.expand_dims(total, stack.get_attr("axis")) if operation.get_attr("keep_dims") else total


def _quotient(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """`a / b = a (1 / b)`, as the reciprocal is a function of one number."""
    import tensorflow as tf

    one, other = operation.inputs
    if not one.dtype.is_floating or any(tf.get_static_value(each) is not None for each in (one, other)):
        return None
    one, other = find(one), find(other)
    return one * (1.0 / other if operation.type == "RealDiv" else tf.math.divide_no_nan(1.0, other))


def _cross(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """The cross product of vectors of three numbers."""
    import tensorflow as tf

    one, other = (find(each) for each in operation.inputs)
    return tf.roll(one, -1, -1) * tf.roll(other, 1, -1) - tf.roll(one, 1, -1) * tf.roll(other, -1, -1)


def _whole_quotient(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """`floor(a / b)`."""
    import tensorflow as tf

    one, other = (find(each) for each in operation.inputs)
    return tf.floor(one / other) if one.dtype.is_floating else None


def _rest(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """`a - floor(a / b) b`."""
    import tensorflow as tf

    one, other = (find(each) for each in operation.inputs)
    return one - tf.floor(one / other) * other if one.dtype.is_floating else None


def _normalized(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """`x s - m s + b = (x - m) s + b`, whose parts are as small as the result."""
    if not operation.outputs[0].dtype.is_floating:
        return None
    for scaled, shift in (operation.inputs, list(operation.inputs)[::-1]):
        for mean, factor, offset in _shifts(shift):
            if _is_mean(mean) and scaled.op.type == "Mul" and any(factor is each for each in scaled.op.inputs):
                (x,) = [each for each in scaled.op.inputs if each is not factor][:1] or [factor]
                result = (find(x) - find(mean)) * find(factor)
                return result if offset is None else result + find(offset)
    return None


def _is_mean(tensor: tf.Tensor) -> bool:
    """Whether a tensor is a mean of data: statistics that are weights become part of a convolution."""
    while tensor.op.type in ("ExpandDims", "Identity", "Reshape", "Squeeze", "StopGradient"):
        tensor = tensor.op.inputs[0]
    return tensor.op.type == "Mean"


def _shifts(shift: tf.Tensor) -> Iterator[tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]]:
    """(m, s, b) of a shift `b - m s`; b is None in `-m s`."""
    if shift.op.type in ("Add", "AddV2"):
        for product, offset in (shift.op.inputs, list(shift.op.inputs)[::-1]):
            yield from ((mean, factor, offset) for mean, factor, other in _shifts(product) if other is None)
    if shift.op.type == "Sub" and shift.op.inputs[1].op.type == "Mul":
        for mean, factor in _both_ways(shift.op.inputs[1].op.inputs):
            yield mean, factor, shift.op.inputs[0]
    if shift.op.type == "Mul":
        for negative, factor in _both_ways(shift.op.inputs):
            if negative.op.type == "Neg":
                yield negative.op.inputs[0], factor, None


def _both_ways(pair: Sequence[tf.Tensor]) -> tuple[tuple[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    one, other = pair
    return (one, other), (other, one)


ARITHMETIC: dict[str, dict[str, Rule]] = {
    "negation": {"Neg": _negation},
    "square": {"Square": _square},
    "stacked_sum": {"Sum": _sum_of_two},
    "normalization": {"AddV2": _normalized},
    "cross": {"Cross": _cross},
    "quotient": {"RealDiv": _quotient, "DivNoNan": _quotient, "FloorDiv": _whole_quotient, "FloorMod": _rest},
}
