"""Which channels of which tensors may be scaled together without changing what a float TFLite file computes.

Where `f(s x) = s f(x)` holds, a channel's scale passes through: ReLU, pooling, adding two tensors of the same scale. A
convolution or dense layer undoes the scale of its inputs by its weights and gives its outputs any other. All other operations need
the true values: their scale is 1. (Nagel et al., arXiv:1906.04721, sec. 4.1, for a pair of layers; here for any graph.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfopt.tflite import flatbuffer

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
# Not `operations.SAME_SCALE`, which is about whole int8 tensors. Here each channel must stay in its place, which TRANSPOSE and
# GATHER do not grant, and the function must be homogeneous, as RELU is. A missing operation costs gains, a wrong one outputs.
_POOLS = ("AVERAGE_POOL_2D", "MAX_POOL_2D")
_HOMOGENEOUS = ("RELU", "LEAKY_RELU", "ABS", "NEG", "PRELU", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
_REDUCTIONS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")
_RESHAPES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")


@dataclasses.dataclass(frozen=True)
class Channels:
    """The channels of a file, each with the number of the group whose scale it shares.

    Attributes:
        groups: tensor index -> (size of the last axis,), numbers of groups.
        free: (groups,), whether a group may have another scale than 1.
        clipped: tensors that a fused RELU6 bounds: their values must stay below 6.
        gates: (operator index, tensor index) of each LOGISTIC in a swish, and its input: the LOGISTIC needs true values, but the
            scale of its input may bypass it through the multiplication.
    """

    groups: dict[int, npt.NDArray[np.int64]]
    free: npt.NDArray[np.bool_]
    clipped: frozenset[int]
    gates: tuple[tuple[int, int], ...]


class _Union:
    """Union-find over channels; channel 0 stands for all whose scale is 1."""

    def __init__(self) -> None:
        self.parents = [0]

    def new(self, count: int) -> npt.NDArray[np.int64]:
        """Adds channels, each in a group of its own, and returns their numbers."""
        start = len(self.parents)
        self.parents += range(start, start + count)
        return np.arange(start, start + count)

    def find(self, item: int) -> int:
        """The channel that stands for the group of a channel."""
        while self.parents[item] != item:
            self.parents[item] = self.parents[self.parents[item]]
            item = self.parents[item]
        return item

    def join(self, ones: npt.NDArray[np.int64], others: npt.NDArray[np.int64]) -> None:
        """Unites the groups of two arrays of channels, pair by pair."""
        for one, other in zip(np.ravel(ones).tolist(), np.ravel(others).tolist(), strict=True):
            one, other = self.find(one), self.find(other)
            self.parents[max(one, other)] = min(one, other)

    def fix(self, items: npt.NDArray[np.int64]) -> None:
        """Gives channels the scale 1."""
        self.join(items, np.zeros_like(items))


class _Grouping:
    """The channels of the tensors that were met, while the operations of a subgraph are followed in their order."""

    def __init__(self, model: schema.ModelT) -> None:
        self.model, self.subgraph = model, model.subgraphs[0]
        self.union = _Union()
        self.known: dict[int, npt.NDArray[np.int64]] = {}
        self._shapes = {index: _shape(tensor) for index, tensor in enumerate(self.subgraph.tensors)}
        self._producers = {int(output): operator for operator in self.subgraph.operators for output in operator.outputs}

    def channels(self, index: int) -> npt.NDArray[np.int64]:
        """The channels of a tensor; a tensor that was not met is an input of the file, with the scale 1."""
        if index not in self.known:
            self.add(index, fixed=True)
        return self.known[index]

    def add(self, index: int, *, fixed: bool) -> None:
        """Gives a tensor channels of its own, with the scale 1 if they are fixed."""
        shape = self._shapes[index]
        self.known[index] = self.union.new(shape[-1] if shape else 1)
        if fixed:
            self.union.fix(self.known[index])

    def constant(self, index: int) -> npt.NDArray[Any] | None:
        """The values of a tensor that the file stores, else None."""
        return flatbuffer.read_constant(self.model, self.subgraph.tensors[index])

    def is_gate(self, source: int, gate: int) -> bool:
        """Whether the LOGISTIC output `gate` is used only to be multiplied with its own input, which makes a swish."""
        users = [operator for operator in self.subgraph.operators if gate in operator.inputs]
        is_product = len(users) == 1 and flatbuffer.op_name(self.model, users[0]) == "MUL"
        return is_product and {source, gate} == set(map(int, users[0].inputs))

    def passes(self, name: str, operator: schema.OperatorT, computed: Sequence[int]) -> bool:
        """Whether an operation lets the scales of its inputs pass; its output then gets their channels."""
        output = int(operator.outputs[0])
        for index in computed:
            self.channels(index)
        if not computed or any(not self._shapes[index] for index in (*computed, output)):
            return False
        passed = self._passed(name, operator, computed, output)
        if passed is not None:
            self.known[output] = passed
        return passed is not None

    def _passed(self, name: str, operator: schema.OperatorT, computed: Sequence[int], output: int) -> npt.NDArray[np.int64] | None:
        """The channels of the output if the operation lets scales pass, else None."""
        first, shapes = computed[0], self._shapes
        own, is_only = self.channels(first), len(computed) == 1
        same_width = shapes[first][-1] == shapes[output][-1]
        parameters = [self.constant(int(index)) for index in operator.inputs[1:] if index >= 0]
        parameter = parameters[0] if parameters else None
        if name in (*_POOLS, *_HOMOGENEOUS) and is_only and same_width:
            return own
        if name in _REDUCTIONS and is_only and parameter is not None:
            rank = len(shapes[first])
            return own if same_width and all(int(axis) % rank != rank - 1 for axis in np.ravel(parameter)) else None
        if name == "PAD" and is_only and parameter is not None:
            return own if not np.any(parameter[-1]) else None
        if name in _RESHAPES and is_only:
            spread = np.broadcast_to(own, shapes[first]).reshape(-1, shapes[output][-1])
            return spread[0] if (spread == spread[0]).all() else None
        if name == "ADD" and len(computed) == 2 and shapes[first] == shapes[computed[1]]:
            self.union.join(own, self.channels(computed[1]))
            return own
        if name == "MUL" and is_only and shapes[first] == shapes[output]:
            return own
        if name == "MUL" and len(computed) == 2:
            # A gate in [0, 1] lets values of any scale through.
            for index, other in (computed, computed[::-1]):
                gate = other in self._producers and flatbuffer.op_name(self.model, self._producers[other]) == "LOGISTIC"
                if gate and shapes[index] == shapes[output]:
                    return self.channels(index)
            return None
        if name == "CONCATENATION" and len(computed) == len(operator.inputs):
            if operator.builtinOptions.axis % len(shapes[output]) == len(shapes[output]) - 1:
                return np.concatenate([self.channels(index) for index in computed])
            for index in computed[1:]:
                self.union.join(own, self.channels(index))
            return own
        return None


def group(model: schema.ModelT) -> Channels:
    """Follows every channel through the first subgraph of a float file that has one subgraph.

    Example:

    ```python
    found = group(flatbuffer.unpack(content))
    found.free[found.groups[index]]               # which channels of a tensor may be scaled
    ```
    """
    grouping, clipped, gates = _Grouping(model), set[int](), list[tuple[int, int]]()
    for place, operator in enumerate(grouping.subgraph.operators):
        name = flatbuffer.op_name(model, operator)
        inputs, output = [int(index) for index in operator.inputs if index >= 0], int(operator.outputs[0])
        computed = [index for index in inputs if grouping.constant(index) is None]
        activation, is_single = _activation(operator), len(operator.outputs) == 1
        if name in WEIGHTED and computed == inputs[:1] and activation in ("NONE", "RELU", "RELU6") and is_single:
            grouping.channels(inputs[0])
            grouping.add(output, fixed=False)
            if activation == "RELU6":
                clipped.add(output)
        elif name == "LOGISTIC" and grouping.is_gate(inputs[0], output):
            gates.append((place, inputs[0]))
            grouping.channels(inputs[0])
            grouping.add(output, fixed=True)
        elif activation in ("NONE", "RELU") and is_single and grouping.passes(name, operator, computed):
            pass
        else:
            for index in computed:
                grouping.union.fix(grouping.channels(index))
            for index in map(int, operator.outputs):
                grouping.add(index, fixed=True)
    for index in map(int, grouping.subgraph.outputs):
        grouping.union.fix(grouping.channels(index))
    roots = np.array([grouping.union.find(item) for item in range(len(grouping.union.parents))])
    groups = {index: roots[items] for index, items in grouping.known.items()}
    return Channels(groups, roots > 0, frozenset(clipped), tuple(gates))


def input_scales(model: schema.ModelT, operator: schema.OperatorT, scales: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """The scales of an operation's first input, one for each input channel of its weights.

    Args:
        model: the file.
        operator: a weighted operation of it.
        scales: (channels,), of the last axis of the input.

    Returns:
        An array to divide the weights by, in a shape that broadcasts.
    """
    weights = model.subgraphs[0].tensors[int(operator.inputs[1])]
    shape, name = _shape(weights), flatbuffer.op_name(model, operator)
    if name == "DEPTHWISE_CONV_2D":
        return np.repeat(scales, shape[-1] // len(scales))
    if name == "FULLY_CONNECTED":  # the operation flattens its input, with the channels innermost
        return np.tile(scales, shape[-1] // len(scales))
    groups = len(scales) // shape[-1]  # of a grouped convolution
    return np.repeat(scales.reshape(groups, 1, 1, -1), shape[0] // groups, axis=0)


def output_axis(name: str) -> int:
    """The axis of the output channels in the weights of an operation, given its name in the schema."""
    return -1 if name == "DEPTHWISE_CONV_2D" else 0


def _activation(operator: schema.OperatorT) -> str:
    """The name of an operation's fused activation function in the schema; "NONE" where there is none."""
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.ActivationFunctionType).items() if isinstance(value, int)}
    return names[getattr(operator.builtinOptions, "fusedActivationFunction", 0)]


def _shape(tensor: schema.TensorT) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(int(size) for size in tensor.shape)
