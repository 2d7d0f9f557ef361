"""Ranges of functions that are steep near zero: 1/x and 1/sqrt(x), as in a normalization of rows of which some are zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfopt.tflite import flatbuffer
from tfopt.tflite.operations import SAME_SCALE

if TYPE_CHECKING:
    import tensorflow as tf
    from ai_edge_litert import schema_py_generated as schema

_STEPS = 255
_STEEP = {"DivNoNan", "RealDiv", "Reciprocal", "Rsqrt"}
_STEEP_POWERS = {"Pow"}


def concerns(function: tf.types.experimental.ConcreteFunction) -> bool:
    """Whether a traced function computes reciprocals, or reciprocals of roots, of what depends on its inputs."""
    captured = {id(inner) for _, inner in function.graph.captures}
    changing = {id(tensor) for tensor in function.graph.inputs} - captured
    for operation in function.graph.get_operations():
        depends = [id(tensor) in changing for tensor in operation.inputs]
        if any(depends):
            changing |= {id(tensor) for tensor in operation.outputs}
            if depends[-1] and operation.type in _STEEP:
                return True
            if depends[0] and operation.type in _STEEP_POWERS:
                return True
    return False


def limited(calibrated: bytes) -> bytes:
    """Ends the ranges of RSQRT and of quotients of a constant at the value for the smallest step of their argument.

    A padded row of zeros has a variance of epsilon, whose root has a reciprocal of 1,000. A range that holds it leaves all other
    rows without a step. In the file the variance of such a row is step 0 among 256. So any other argument has a value below the
    new end, and the row itself is zero by whatever it is multiplied.

    Args:
        calibrated: the float file that `quantizer.collect_ranges` makes.

    Returns:
        The file with smaller ranges; the same bytes if none changed.
    """
    model = flatbuffer.unpack(calibrated)
    graph = model.subgraphs[0]
    limits: dict[int, float] = {}
    for operator in graph.operators:
        name, inputs = flatbuffer.op_name(model, operator), [int(index) for index in operator.inputs]
        limit = None
        if name == "RSQRT" and (step := _step(graph.tensors[inputs[0]])):
            limit = step**-0.5
        elif name == "DIV" and (step := _step(graph.tensors[inputs[1]])):
            numerator = _constant(model, graph.tensors[inputs[0]])
            limit = None if numerator is None else numerator / step
        elif name in SAME_SCALE and len(shared := {limits[index] for index in inputs if index in limits}) == 1:
            (limit,) = shared
        if limit is None:
            continue
        for index in operator.outputs:
            found = graph.tensors[index].quantization
            if found is not None and found.max is not None and len(found.max) == 1 and found.max[0] > limit:
                found.max = np.array([limit], np.float32)
                limits[int(index)] = limit
    return flatbuffer.pack(model) if limits else calibrated


def _step(tensor: schema.TensorT) -> float | None:
    """The step of a tensor of which no value is negative; None for others."""
    found = tensor.quantization
    if found is None or found.min is None or len(found.min) != 1 or found.min[0] < 0.0 or found.max[0] <= 0.0:
        return None
    return float(found.max[0]) / _STEPS


def _constant(model: schema.ModelT, tensor: schema.TensorT) -> float | None:
    """The positive number that the file holds in a tensor; None for other tensors."""
    data = model.buffers[tensor.buffer].data
    values = np.frombuffer(bytes(data), np.float32) if data is not None and len(data) and tensor.type == 0 else np.zeros(0)
    return float(values[0]) if len(values) and (values == values[0]).all() and values[0] > 0.0 else None
