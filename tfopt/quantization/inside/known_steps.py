"""Which tensors of a graph hold multiples of a step, and of which one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

_COLLECTION = "tfopt_steps"
_LEVELS = 255.0  # of int8
# Operations whose output is the input in another shape.
SHAPES = ("Cast", "ExpandDims", "Identity", "Reshape", "Squeeze", "StopGradient", "Transpose")
# Operations whose output has numbers of the first input and 0.
_SELECTIONS = (
    "BatchToSpaceND", "BroadcastTo", "GatherV2", "Max", "MaxPool", "Min", "MirrorPad", "Pad", "Relu", "ResizeNearestNeighbor",
    "ReverseV2", "Slice", "SpaceToBatchND", "StridedSlice", "Tile",
)  # fmt: skip


def note(tensor: tf.Tensor, step: tf.Tensor | float) -> None:
    """Takes note that a tensor of a graph holds multiples of `step`, which broadcasts to it; nothing outside of a graph."""
    steps = _steps(tensor)
    if steps is not None:
        steps[id(tensor)] = tensor, step  # the tensor too, as ids are unique among living objects only


def is_known(tensor: tf.Tensor) -> bool:
    """Whether the step of any tensor in the graph of this one is known."""
    return bool(_steps(tensor))


def common_step(tensor: tf.Tensor) -> tf.Tensor | None:
    """The step of a tensor that has one for all of its numbers, else None."""
    step = step_of(tensor)
    return step if step is not None and not len(step.shape) else None


def step_of(tensor: tf.Tensor) -> tf.Tensor | None:
    """The step of a tensor, which broadcasts to it; None if it is not known."""
    import tensorflow as tf

    steps = _steps(tensor) or {}
    if id(tensor) in steps:
        return tf.convert_to_tensor(steps[id(tensor)][1], tf.float32)
    constant = tf.get_static_value(tensor) if tensor.shape.num_elements() == 1 and tensor.dtype.is_floating else None
    if constant is not None:  # the converter gives it a range that ends at 0
        return tf.constant(abs(float(constant.item())) / _LEVELS, tf.float32)
    operation = tensor.op
    if operation.type in SHAPES and tensor.dtype.is_floating:
        found = step_of(operation.inputs[0])
        return None if found is None else reshaped(found, operation)
    if operation.type in _SELECTIONS:
        return common_step(operation.inputs[0])
    return None


def reshaped(value: Any, operation: tf.Operation) -> Any:
    """`value`, which broadcasts to the input of an operation among `SHAPES`, in the shape of the output."""
    import tensorflow as tf

    if value is None or isinstance(value, float) or not len(value.shape) or operation.type in ("Cast", "Identity", "StopGradient"):
        return value
    whole = tf.broadcast_to(value, tf.shape(operation.inputs[0]))
    if operation.type == "Squeeze":
        return tf.squeeze(whole, operation.get_attr("squeeze_dims"))
    function = {"ExpandDims": tf.expand_dims, "Reshape": tf.reshape, "Transpose": tf.transpose}[operation.type]
    return function(whole, operation.inputs[1])


def producer(tensor: tf.Tensor) -> tf.Operation:
    """The operation that computes a tensor, before it only gets another shape."""
    while tensor.op.type in SHAPES:
        tensor = tensor.op.inputs[0]
    return tensor.op


def _steps(tensor: tf.Tensor) -> dict[int, tuple[tf.Tensor, tf.Tensor | float]] | None:
    """The steps that are known in the graph of a tensor; None outside of a graph."""
    import tensorflow as tf

    if tf.executing_eagerly() or not hasattr(tensor, "graph"):
        return None
    found = tensor.graph.get_collection_ref(_COLLECTION)
    if not found:
        found.append({})
    return found[0]
