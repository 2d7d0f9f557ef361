"""Which values of an output belong together, read from the graph of the file."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tfopt.tflite.operations import FIXED_SCALE

if TYPE_CHECKING:
    from tfopt.tflite.flatbuffer import Graph, Operator

# Operations that hand on the values of their first input in the same order.
_PASSING = ("CAST", "DEQUANTIZE", "EXPAND_DIMS", "QUANTIZE", "RESHAPE", "SQUEEZE")


@dataclasses.dataclass(frozen=True)
class Layout:
    """The parts of one output: the inputs of the concatenations that it comes from, or one part if it comes from none.

    Attributes:
        labels: the part of each value, in the shape of one row of the output.
        writers: for each part, the name of the operation that computes it; "" for an input of the file.
        is_integer: whether the values are ids, masks or other integers without a scale.
        is_8_bit: whether the values are stored in 8 bits with one scale.
    """

    labels: npt.NDArray[np.int64]
    writers: tuple[str, ...]
    is_integer: bool
    is_8_bit: bool


def layout(graph: Graph, index: int) -> Layout:
    """The parts of output tensor `index` of a file."""
    writers = {output: operator for operator in graph.operators for output in operator.outputs}
    found: list[str] = []
    labels = _labels(graph, index, writers, found)
    source = graph.tensors[index]
    while not source.scale and source.index in writers and writers[source.index].name in _PASSING:
        source = graph.tensors[writers[source.index].inputs[0]]
    is_integer = not source.scale and source.dtype.startswith(("int", "uint", "bool"))
    is_8_bit = source.dtype in ("int8", "uint8") and len(source.scale) == 1
    return Layout(labels[0] if labels.ndim else labels, tuple(found), is_integer, is_8_bit)


def _labels(graph: Graph, index: int, writers: dict[int, Operator], found: list[str]) -> npt.NDArray[np.int64]:
    """The part of each value of a tensor; the operation that writes a part is appended to `found`."""
    shape, operator = graph.tensors[index].shape, writers.get(index)
    if operator is not None and operator.name in _PASSING:
        if np.prod(graph.tensors[operator.inputs[0]].shape) == np.prod(shape):
            return _labels(graph, operator.inputs[0], writers, found).reshape(shape)
    elif operator is not None and operator.name == "CONCATENATION":
        shapes = [graph.tensors[each].shape for each in operator.inputs]
        # The graph does not hold the axis: it is the one along which the sizes add up to that of the output.
        axes = [axis for axis in range(1, len(shape)) if shapes[0][axis] != shape[axis]]
        if len(axes) == 1 and sum(each[axes[0]] for each in shapes) == shape[axes[0]]:
            return np.concatenate([_labels(graph, each, writers, found) for each in operator.inputs], axis=axes[0])
    found.append(operator.name if operator is not None else "")
    return np.full(shape, len(found) - 1)


def shares_one_unit(writer: str) -> bool:
    """Whether all channels of a part have one unit, as those of a softmax do, because the format fixes the scale."""
    return writer in FIXED_SCALE
