"""Which operations of a graph have an output of their own in the int8 file, and so a range."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tfopt.quantization.inside.known_steps import is_constant
from tfopt.quantization.layer_kinds import FIXED_RANGES

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.quantization.fake_quantize import Range

FIXED: Mapping[str, Range] = {kind: FIXED_RANGES[kind.lower()] for kind in ("Sigmoid", "Softmax", "Tanh")}
"""Type of an operation -> the range that TFLite gives its output."""

MOVED_INPUT: Mapping[str, int] = {
    **dict.fromkeys(
        (
            "BatchToSpaceND", "BroadcastTo", "CheckNumerics", "DepthToSpace", "ExpandDims", "GatherNd", "Identity", "Max",
            "MaxPool", "Min", "MirrorPad", "Pad", "PreventGradient", "Reshape", "ResizeNearestNeighbor", "ReverseV2",
            "Slice", "Snapshot", "SpaceToBatchND", "SpaceToDepth", "SplitV", "Squeeze", "StopGradient", "StridedSlice",
            "Tile", "Transpose", "Unpack",
        ),
        0,
    ),
    "GatherV2": 0,
    "Split": 1,
}  # fmt: skip
"""Type of an operation whose outputs have the integers and the scale of an input -> the place of this input."""

JOINED = ("ConcatV2", "Pack")
"""Operations that put integers of one scale side by side."""

AVERAGING = ("AvgPool", "AvgPool3D", "ResizeBilinear")
"""Operations whose output is rounded to the scale of the input."""

_PRODUCTS = {
    "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Conv2D", "Conv2DBackpropInput", "Conv3D", "DepthwiseConv2dNative", "Einsum",
    "MatMul",
}  # fmt: skip
_CLAMPED = _PRODUCTS | {"Add", "AddV2", "BiasAdd", "Mul", "Sub"}
_SUMS = ("Add", "AddV2", "BiasAdd")
# Functions of each number by itself. One of a single rounded tensor and of constants of one number is one operation of the file,
# or a table of 256 values, whatever it is made of.
_ELEMENTWISE = {
    "Abs", "Acos", "Acosh", "Add", "AddV2", "Asin", "Asinh", "Atan", "Atanh", "BiasAdd", "Ceil", "ClipByValue", "Cos",
    "Cosh", "Div", "DivNoNan", "Elu", "Erf", "Erfc", "Exp", "Expm1", "Floor", "FloorDiv", "FloorMod", "Inv", "LeakyRelu",
    "Log", "Log1p", "Maximum", "Minimum", "Mul", "MulNoNan", "Neg", "Pow", "RealDiv", "Reciprocal", "Relu", "Relu6",
    "Rint", "Round", "Rsqrt", "SelectV2", "Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt",
    "Square", "SquaredDifference", "Sub", "Tan", "Tanh",
}  # fmt: skip
_REDUCTIONS = {"AddN", "Cumsum", "Mean", "Prod", "Sum"}
_ROUNDED = _PRODUCTS | _ELEMENTWISE | _REDUCTIONS | {*FIXED, *JOINED, *AVERAGING, "LogSoftmax"}
_SOURCES = ("Const", "ReadVariableOp")
# A constant beyond it marks what does not count in a softmax.
_FAR = 1e4


@dataclasses.dataclass(frozen=True)
class Seen:
    """An operation that a layer of the caller's own computes.

    Attributes:
        key: of its output.
        operation: in the graph of a symbolic call.
    """

    key: str
    operation: tf.Operation


def plan(seen: Sequence[Seen], outputs: Sequence[tf.Tensor] = ()) -> Mapping[str, Range | None]:
    """Key of each output that is to be rounded -> the range that TFLite gives it, or None.

    Args:
        seen: operations of one graph that is complete.
        outputs: of the outermost layer. They are rounded after it, under its name, unless they have a range of their own.
    """
    analysis = _Analysis({each.operation: each.key for each in seen})
    last = {each.op for each in outputs if not each.consumers() and each.op.type not in FIXED}
    rounded = [each for each in seen if analysis.is_rounded(each.operation) and each.operation not in last]
    return {each.key: FIXED.get(each.operation.type) for each in rounded}


class _Analysis:
    def __init__(self, keys: Mapping[tf.Operation, str]) -> None:
        self._keys = keys
        self.is_constant = functools.cache(is_constant)
        self.is_far = functools.cache(self._is_far)
        self.root = functools.cache(self._root)

    def is_rounded(self, operation: tf.Operation) -> bool:
        """Whether the output is a tensor of the file whose range the data decide."""
        if len(operation.outputs) != 1 or not operation.outputs[0].dtype.is_floating:
            return False
        if self.is_constant(operation):
            return operation.type in (*_SOURCES, *_ROUNDED) and self._is_factor(operation)
        if operation.type not in _ROUNDED or self.is_far(operation):
            return False
        following = operation.outputs[0].consumers()
        if self.root(operation) is operation:
            return not self._is_fused(operation)
        return not following or any(self.root(each) is not self.root(operation) for each in following)

    def _is_factor(self, operation: tf.Operation) -> bool:
        """Whether a constant of several numbers meets tensors of the data number by number, and not as the bias of a product."""
        if operation.outputs[0].shape.num_elements() == 1:
            return False
        for each in operation.outputs[0].consumers():
            if self.is_constant(each):
                if each.type in MOVED_INPUT and self._is_factor(each):
                    return True
            elif each.type in _ELEMENTWISE and not self._is_bias_sum(each) and not self.is_far(each):
                return True
        return False

    def _is_bias_sum(self, operation: tf.Operation) -> bool:
        """Whether an operation adds a vector of constants to a product."""
        if operation.type not in _SUMS:
            return False
        others = [each for each in operation.inputs if not self.is_constant(each.op)]
        constants = [each for each in operation.inputs if self.is_constant(each.op)]
        if len(others) != 1 or len(constants) != 1:
            return False
        is_vector = (constants[0].shape.rank or 0) <= 1
        return is_vector and others[0].op.type in _PRODUCTS and len(others[0].consumers()) == 1

    def _is_fused(self, operation: tf.Operation) -> bool:
        """Whether the file computes the only consumer of an output together with the operation."""
        following = operation.outputs[0].consumers()
        if len(following) != 1:
            return False
        (consumer,) = following
        if consumer.type in JOINED:  # it rounds all tensors that it joins, to one scale
            return operation.type not in FIXED
        return (consumer.type in ("Relu", "Relu6") and operation.type in _CLAMPED) or self._is_bias_sum(consumer)

    def _root(self, operation: tf.Operation) -> tf.Operation:
        """The operation whose output alone decides an output, number by number; the operation itself if there are several."""
        if operation not in self._keys or operation.type not in _ELEMENTWISE or self.is_constant(operation):
            return operation
        roots = set()
        for tensor in operation.inputs:
            if not self.is_constant(tensor.op):
                roots.add(operation if self._is_fused(tensor.op) else self.root(tensor.op))
            elif tensor.shape.num_elements() != 1:
                return operation
        return roots.pop() if len(roots) == 1 else operation

    def _is_far(self, operation: tf.Operation) -> bool:
        """Whether an output holds numbers that stand for "masked"."""
        if self.is_constant(operation) or operation not in self._keys:
            return False
        if operation.type not in ("Add", "AddV2", "Maximum", "Minimum", "Mul", "SelectV2", "Sub", *JOINED, *MOVED_INPUT):
            return False
        signs = {"Maximum": (1,), "Minimum": (-1,)}.get(operation.type, (-1, 1))  # the larger of x and -1e9 is x
        return any(_is_far_constant(tensor, signs) or self.is_far(tensor.op) for tensor in operation.inputs)


def _is_far_constant(tensor: tf.Tensor, signs: Sequence[int]) -> bool:
    import tensorflow as tf

    value = tf.get_static_value(tensor) if tensor.dtype.is_floating else None
    return value is not None and value.size > 0 and any(bool((sign * value).max() > _FAR) for sign in signs)
