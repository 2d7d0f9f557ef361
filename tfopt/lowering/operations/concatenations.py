"""Rules for parts of a concatenation: they are read from where they were before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.lowering.operations.replay import Find, Rule

    Bounds = list[tuple[int, int]]
    """(first place, size) along each axis."""

_MOST = 64
"""A part that is made of more tensors stays a slice of the whole, as a long loop would join them again and again."""


def _part(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """A slice of a concatenation, from the tensors that it was made of.

    A loop of Python that replaces row after row, `x = concatenate([x[:i], row, x[i + 1:]])`, becomes the rows alone. The converter
    gives a slice and a concatenation the scale of their inputs, and does not come to an end in a long chain of them.
    """
    import tensorflow as tf

    tensor, found = find(operation.inputs[0]), _bounds(operation)
    if found is None or not tensor.shape.is_fully_defined():
        return None
    bounds, dropped = found
    part = _from_parts(tensor, bounds)
    if part is None or not dropped:
        return part
    return tf.squeeze(part, dropped)


def _from_parts(tensor: tf.Tensor, bounds: Bounds) -> tf.Tensor | None:
    """A slice of a concatenation without the concatenation; None if it needs the whole, or a part of several tensors."""
    import tensorflow as tf

    axis = _joined_along(tensor)
    if axis is None:
        return None
    start, size = bounds[axis]
    parts, taken, place = list(_flat(tensor, axis)), [], 0
    for part in parts:
        width = part.shape[axis]
        if place < start + size and start < place + width:
            taken.append((part, place))
        place += width
    if not taken or len(taken) == len(parts) or len(taken) > _MOST:
        return None
    (first, begin), (last, end) = taken[0], taken[-1]
    within = [*bounds[:axis], (start - begin, size), *bounds[axis + 1 :]]
    if len(taken) == 1:
        return _sliced(first, within)
    if begin != start or end + last.shape[axis] != start + size:
        return None
    return _sliced(tf.concat([part for part, _ in taken], axis), within)


def _sliced(tensor: tf.Tensor, bounds: Bounds) -> tf.Tensor:
    """A slice of a tensor, of what it was made of, or of what it was a slice of."""
    import tensorflow as tf

    if [size for _, size in bounds] == list(tensor.shape):
        return tensor
    part = _from_parts(tensor, bounds)
    if part is not None:
        return part
    before = _bounds(tensor.op)
    if before is not None and not before[1]:
        moved = [(one + other, size) for (one, _), (other, size) in zip(before[0], bounds, strict=True)]
        return _sliced(tensor.op.inputs[0], moved)
    return tf.slice(tensor, [start for start, _ in bounds], [size for _, size in bounds])


def _joined_along(tensor: tf.Tensor) -> int | None:
    """The axis along which a tensor is a concatenation."""
    import tensorflow as tf

    if not tf.is_symbolic_tensor(tensor):  # a constant from outside of the function
        return None
    axis = tf.get_static_value(tensor.op.inputs[-1]) if tensor.op.type == "ConcatV2" else None
    return None if axis is None else int(axis) % len(tensor.shape)


def _flat(tensor: tf.Tensor, axis: int) -> Iterator[tf.Tensor]:
    """The tensors that a concatenation joins, those of the concatenations among them included."""
    for part in tensor.op.inputs[:-1]:
        if _joined_along(part) == axis:
            yield from _flat(part, axis)
        else:
            yield part


def _bounds(operation: tf.Operation) -> tuple[Bounds, list[int]] | None:
    """(bounds of a slice, axes that it drops); None for another operation, for steps, and for bounds that come from data."""
    import tensorflow as tf

    if operation.type not in ("Slice", "StridedSlice") or not operation.inputs[0].shape.is_fully_defined():
        return None
    numbers = [tf.get_static_value(each) for each in operation.inputs[1:]]
    if any(each is None for each in numbers):
        return None
    shape = list(operation.inputs[0].shape)
    if operation.type == "Slice":
        pairs = zip(*(each.tolist() for each in numbers), strict=True)
        found = zip(pairs, shape, strict=True)
        return [(start, whole - start if size == -1 else size) for (start, size), whole in found], []
    return _strided(operation, [each.tolist() for each in numbers], shape)


def _strided(operation: tf.Operation, numbers: Sequence[list[int]], shape: list[int]) -> tuple[Bounds, list[int]] | None:
    masks = {name: operation.get_attr(f"{name}_mask") for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    if masks["new_axis"] or any(step != 1 for step in numbers[2]):
        return None
    bounds: Bounds = []
    dropped: list[int] = []
    for place, (begin, end) in enumerate(zip(*numbers[:2], strict=True)):
        if masks["ellipsis"] >> place & 1:
            left = len(shape) - len(bounds) - (len(numbers[0]) - place - 1)
            bounds += [(0, size) for size in shape[len(bounds) : len(bounds) + left]]
            continue
        whole = shape[len(bounds)]
        start, stop, _ = slice(None if masks["begin"] >> place & 1 else begin, None if masks["end"] >> place & 1 else end).indices(
            whole
        )
        if masks["shrink_axis"] >> place & 1:
            dropped.append(len(bounds))
            start, stop = begin % whole, begin % whole + 1
        bounds.append((start, max(stop - start, 0)))
    return [*bounds, *((0, size) for size in shape[len(bounds) :])], dropped


CONCATENATIONS: dict[str, dict[str, Rule]] = {"parts_of_joined": {"Slice": _part, "StridedSlice": _part}}
