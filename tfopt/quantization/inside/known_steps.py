"""Which tensors of a graph hold multiples of a step, and of which one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

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


class Known(NamedTuple):
    """What is known of a tensor.

    Attributes:
        tensor: itself, which keeps it alive, as ids are unique among living objects only.
        step: it holds multiples of this number, which broadcasts to it.
        zero_point: of shape (), the integer that stands for 0 in int8; None for weights and constants.
    """

    tensor: tf.Tensor
    step: tf.Tensor | float
    zero_point: tf.Tensor | None


def note(tensor: tf.Tensor, step: tf.Tensor | float, zero_point: tf.Tensor | None = None) -> None:
    """Takes note that a tensor of a graph holds multiples of `step`; nothing outside of a graph."""
    steps = _steps(tensor)
    if steps is not None:
        steps[id(tensor)] = Known(tensor, step, zero_point)


def is_constant(operation: tf.Operation) -> bool:
    """Whether the outputs of an operation depend on constants and variables alone, and not on a tensor that the data round."""
    known: dict[tf.Operation, bool] = {}
    waiting = [operation]
    while waiting:  # in place of a recursion, which would be as deep as the network
        last = waiting[-1]
        inputs = _inputs_that_decide(last)
        if isinstance(inputs, bool):
            known[waiting.pop()] = inputs
        elif any(known.get(each) is False for each in inputs):
            known[waiting.pop()] = False
        elif unknown := [each for each in inputs if each not in known]:
            waiting.append(unknown[0])
        else:
            known[waiting.pop()] = True
    return known[operation]


def _inputs_that_decide(operation: tf.Operation) -> Sequence[tf.Operation] | bool:
    """The operations that make the inputs of an operation if they decide whether it is constant; else whether it is."""
    steps = _steps(operation.outputs[0]) if operation.outputs else None
    if steps and any(id(each) in steps and steps[id(each)].zero_point is not None for each in operation.outputs):
        return False
    if operation.type in ("Shape", "ShapeN", "Size", "Rank", "Const", "VarHandleOp"):
        return True
    if operation.type == "Placeholder":
        return any(operation.outputs[0] is each for each in getattr(operation.graph, "internal_captures", ()))
    if operation.type != "ReadVariableOp" and operation.op_def is not None and operation.op_def.is_stateful:
        return False
    return [each.op for each in operation.inputs]


def rounded_constant(values: tf.Tensor) -> tf.Tensor:
    """A vector as the converter rounds constants that are no weights: to 256 steps from its minimum to its maximum, 0 included."""
    import tensorflow as tf

    values = tf.convert_to_tensor(values)
    low, high = tf.minimum(tf.reduce_min(values), 0.0), tf.maximum(tf.reduce_max(values), 0.0)
    step = tf.cast((tf.cast(high, tf.float64) - tf.cast(low, tf.float64)) / _LEVELS, tf.float32)
    rounded = tf.quantization.fake_quant_with_min_max_vars(
        values, tf.stop_gradient(low), tf.stop_gradient(tf.maximum(high, low + 1e-7))
    )
    note(rounded, step)
    return rounded


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
        return tf.convert_to_tensor(steps[id(tensor)].step, tf.float32)
    number = _number(tensor)
    if number is not None:  # the converter gives it a range that ends at 0
        return tf.constant(abs(number) / _LEVELS, tf.float32)
    operation = tensor.op
    if operation.type in SHAPES and tensor.dtype.is_floating:
        found = step_of(operation.inputs[0])
        return None if found is None else reshaped(found, operation)
    if operation.type in _SELECTIONS:
        return common_step(operation.inputs[0])
    if operation.type == "SelectV2":
        return common_step(operation.inputs[1]) if _origin(operation.inputs[1]) is _origin(operation.inputs[2]) else None
    if operation.type == "Mul" and _number(operation.inputs[1]) == 1.0:  # the file leaves it out
        return step_of(operation.inputs[0])
    return None


def _origin(tensor: tf.Tensor) -> tf.Tensor:
    """The tensor whose numbers a tensor holds."""
    while id(tensor) not in (_steps(tensor) or {}) and tensor.op.type in (*SHAPES, *_SELECTIONS):
        tensor = tensor.op.inputs[0]
    return tensor


def zero_point_of(tensor: tf.Tensor) -> tf.Tensor | float:
    """The zero point of a tensor of one known step."""
    known = (_steps(tensor) or {}).get(id(tensor))
    if known is not None:
        return 0.0 if known.zero_point is None else known.zero_point
    return zero_point_of(tensor.op.inputs[0]) if tensor.op.type in (*SHAPES, *_SELECTIONS, "Mul") else 0.0


def _number(tensor: tf.Tensor) -> float | None:
    """A constant of one float; None for every other tensor."""
    import tensorflow as tf

    is_one = tensor.shape.num_elements() == 1 and tensor.dtype.is_floating
    value = tf.get_static_value(tensor) if is_one else None
    return None if value is None else float(value.item())


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


def _steps(tensor: tf.Tensor) -> dict[int, Known] | None:
    """The steps that are known in the graph of a tensor; None outside of a graph."""
    import tensorflow as tf

    if tf.executing_eagerly() or not hasattr(tensor, "graph"):
        return None
    found = tensor.graph.get_collection_ref(_COLLECTION)
    if not found:
        found.append({})
    return found[0]
