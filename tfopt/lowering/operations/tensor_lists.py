"""Rules for a `tf.TensorArray` whose places are all known, as in a loop of Python: its tensors are read where they were written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.lowering.operations.replay import Find, Rule

_READERS = {"TensorListGetItem", "TensorListSetItem", "TensorListStack", "TensorListLength"}


def _reserve(operation: tf.Operation, find: Find) -> Sequence[Any] | None:
    """A list of Python in the place of a list of the graph, if nothing else than the rules below takes it."""
    import tensorflow as tf

    count = tf.get_static_value(operation.inputs[1])
    if count is None or not _is_known(operation.outputs[0]):
        return None
    return [[None] * int(count)]


def _is_known(handle: tf.Tensor) -> bool:
    """Whether all that takes a list, or the list after a write, is covered, with places that are known."""
    import tensorflow as tf

    for reader in handle.consumers():
        if reader.type not in _READERS or handle.graph is not reader.graph:
            return False
        if reader.type.endswith("Item") and tf.get_static_value(reader.inputs[1]) is None:
            return False
        if reader.type == "TensorListSetItem" and not _is_known(reader.outputs[0]):
            return False
    return not any(handle is output for output in getattr(handle.graph, "outputs", ()))


def _set(operation: tf.Operation, find: Find) -> Sequence[Any] | None:
    import tensorflow as tf

    values: Any = find(operation.inputs[0])
    if not isinstance(values, list):
        return None
    place = int(tf.get_static_value(operation.inputs[1]))
    return [[find(operation.inputs[2]) if each == place else value for each, value in enumerate(values)]]


def _get(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    import tensorflow as tf

    values: Any = find(operation.inputs[0])
    if not isinstance(values, list):
        return None
    value = values[int(tf.get_static_value(operation.inputs[1]))]
    return tf.zeros(operation.outputs[0].shape, operation.outputs[0].dtype) if value is None else value


def _stack(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    import tensorflow as tf

    values: Any = find(operation.inputs[0])
    if not isinstance(values, list):
        return None
    output = operation.outputs[0]
    return tf.stack([tf.zeros(output.shape[1:], output.dtype) if value is None else value for value in values])


def _length(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    import tensorflow as tf

    values: Any = find(operation.inputs[0])
    return tf.constant(len(values)) if isinstance(values, list) else None


TENSOR_LISTS: dict[str, dict[str, Rule]] = {
    "tensor_lists": {
        "TensorListReserve": _reserve,
        "TensorListSetItem": _set,
        "TensorListGetItem": _get,
        "TensorListStack": _stack,
        "TensorListLength": _length,
    },
}
