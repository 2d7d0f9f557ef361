"""Whether a TFLite file contradicts itself: the C++ of the runtime trusts the file, and a contradiction ends the process."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tfopt import sizes
from tfopt.errors import LoadError
from tfopt.tflite import flatbuffer
from tfopt.tflite.operations import SAME_TYPE

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

# Bytes of an element; types that are not here have no fixed size.
_SIZES = {
    "float32": 4, "float16": 2, "int32": 4, "uint8": 1, "int64": 8, "bool": 1, "int16": 2, "complex64": 8, "int8": 1, "float64": 8,
    "complex128": 16, "uint64": 8, "uint32": 4, "uint16": 2, "bfloat16": 2,
}  # fmt: skip
_ENTRY = 64  # bytes of a number in Python
_LARGEST = 1 << 31  # bytes of one tensor
# Options of operations that must be at least 1, by the name of their accessor.
_AT_LEAST_ONE = (
    "StrideH", "StrideW", "StrideD", "DilationHFactor", "DilationWFactor", "DilationDFactor", "FilterHeight", "FilterWidth",
)  # fmt: skip


def require_sound(content: bytes, name: str, *, allow_large: bool = False) -> None:
    """Raises where a file contradicts itself: indices without a target, sizes other than those of the data, strides of zero.

    Args:
        content: bytes of a `.tflite` file.
        name: the file's name for messages.
        allow_large: whether the tensors may take any memory.

    Raises:
        LoadError: the file is damaged, or takes more memory than such a file should.
    """
    try:
        wrong = _first_contradiction(content)
        needed = None if wrong else _needed(content)
    except (struct.error, LookupError, TypeError, ValueError, AttributeError, OverflowError, MemoryError, RecursionError) as error:
        wrong = f"a structure that cannot be followed ({type(error).__name__}: {error})"
    if wrong:
        raise LoadError(f"A complete TFLite file is required. Received: {name}, with {wrong}. Convert the model again.")
    if needed is not None:
        constants, at_once = needed
        sizes.require_growth(constants, len(content), "the stored tensors", allow_large=allow_large, path=name)
        sizes.require_memory(constants + at_once, "the tensors of one operation", allow_large=allow_large, path=name)


def _first_contradiction(content: bytes) -> str | None:
    model = flatbuffer.root(content)
    if not model.SubgraphsLength():
        return "no subgraph"
    if not model.BuffersLength():
        return "no buffers"
    sizes = [_length(content, model.Buffers(index)) for index in range(model.BuffersLength())]
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        for index in range(graph.TensorsLength()):
            wrong = _wrong_tensor(graph.Tensors(index), sizes)
            if wrong:
                return f"tensor {index} that has {wrong}"
        wrong = _wrong_order(model, graph, sizes)
        if wrong:
            return wrong
    return _wrong_signature(model)


def _length(content: bytes, buffer: schema.Buffer) -> int:
    """The bytes of a buffer, which lies in the file's table or, for large files, after it."""
    size = buffer.DataLength()
    if size > len(content) or buffer.Offset() > len(content) or buffer.Offset() + buffer.Size() > len(content):
        raise ValueError("a buffer reaches beyond the file")
    return size or (buffer.Size() if buffer.Offset() > 1 else 0)


def _wrong_tensor(tensor: schema.Tensor, sizes: Sequence[int]) -> str | None:
    """The first contradiction of a tensor, given the bytes of each buffer of the file."""
    kind = flatbuffer.type_names().get(tensor.Type())
    if kind is None:
        return f"the unknown type {tensor.Type()}"
    if not 0 <= tensor.Buffer() < len(sizes):
        return f"the buffer {tensor.Buffer()} of {len(sizes)}"
    (tensor.Name() or b"").decode()
    shape = [int(size) for size in tensor.ShapeAsNumpy()] if tensor.ShapeLength() else []
    if len(shape) > 8 or any(size < 0 for size in shape):
        return f"the shape {shape}"
    needed = math.prod(shape) * _SIZES.get(kind, 1)
    if needed > _LARGEST:
        return f"the shape {shape}, which is too large"
    given = sizes[tensor.Buffer()]
    if given and kind in _SIZES and tensor.Sparsity() is None and given != needed:
        return f"{given} bytes of data for {needed} of {kind}{shape}"
    quantization = tensor.Quantization()
    if quantization is not None and quantization.ScaleLength():
        scales, zeros = quantization.ScaleLength(), quantization.ZeroPointLength()
        axis = quantization.QuantizedDimension()
        channels = shape[axis] if 0 <= axis < len(shape) else 1
        if scales not in (1, channels) or zeros not in (0, 1, scales):
            return f"{scales} scales and {zeros} zero points for the shape {shape}"
        if not all(math.isfinite(value) and value >= 0 for value in quantization.ScaleAsNumpy().tolist()):
            return "a scale that is no positive number"
    return None


def _wrong_order(model: schema.Model, graph: schema.SubGraph, sizes: Sequence[int]) -> str | None:
    """The first operation that does not find its tensors in the file, among the inputs, or computed before."""
    count = graph.TensorsLength()
    inputs, outputs = _indices(graph.InputsAsNumpy()), _indices(graph.OutputsAsNumpy())
    if not all(0 <= index < count for index in [*inputs, *outputs]):
        return f"inputs or outputs that are not among its {count} tensors"
    ready = set(inputs)
    for index in range(count):
        tensor = graph.Tensors(index)
        if sizes[tensor.Buffer()] or tensor.IsVariable() or 0 in (tensor.ShapeAsNumpy().tolist() if tensor.ShapeLength() else []):
            ready.add(index)
    for position in range(graph.OperatorsLength()):
        operator = graph.Operators(position)
        if not 0 <= operator.OpcodeIndex() < model.OperatorCodesLength():
            return f"op {position} of the unknown code {operator.OpcodeIndex()}"
        reads, writes = _indices(operator.InputsAsNumpy()), _indices(operator.OutputsAsNumpy())
        if not all(-1 <= index < count for index in [*reads, *writes, *_indices(operator.IntermediatesAsNumpy())]):
            return f"op {position} on tensors that do not exist"
        if not all(index == -1 or index in ready for index in reads):
            return f"op {position} on tensors that nothing computes"
        if any(index in inputs or index < 0 for index in writes) or len(set(writes)) != len(writes):
            return f"op {position}, which writes where it must not"
        if any(sizes[graph.Tensors(index).Buffer()] for index in writes):
            return f"op {position}, which overwrites weights"
        wrong = _wrong_options(operator) or _wrong_types(model, graph, operator, reads, writes)
        if wrong:
            return f"op {position} with {wrong}"
        ready.update(writes)
    if not ready >= set(outputs):
        return "outputs that nothing computes"
    return None


def _wrong_signature(model: schema.Model) -> str | None:
    """The first signature whose names stand for tensors that do not exist."""
    for number in range(model.SignatureDefsLength()):
        signature = model.SignatureDefs(number)
        if signature.SubgraphIndex() >= model.SubgraphsLength():
            return f"a signature of the subgraph {signature.SubgraphIndex()}, which does not exist"
        count = model.Subgraphs(signature.SubgraphIndex()).TensorsLength()
        named = [signature.Inputs(index) for index in range(signature.InputsLength())]
        named += [signature.Outputs(index) for index in range(signature.OutputsLength())]
        if any(each.TensorIndex() >= count for each in named):
            return "a signature of tensors that do not exist"
    return None


def _wrong_types(
    model: schema.Model, graph: schema.SubGraph, operator: schema.Operator, reads: Sequence[int], writes: Sequence[int]
) -> str | None:
    """An output whose type is not that of the input, of an operation that does not change types."""
    if flatbuffer.code_name(model.OperatorCodes(operator.OpcodeIndex())) not in SAME_TYPE or not reads or not writes:
        return None
    first, last = (graph.Tensors(index) for index in (reads[0], writes[0]))
    if first.Type() != last.Type():
        return f"an input of type {first.Type()} and an output of type {last.Type()}"
    return None


def _wrong_options(operator: schema.Operator) -> str | None:
    """An option of an operation that must be at least 1 and is not."""
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.BuiltinOptions).items() if isinstance(value, int)}
    name, table = names.get(operator.BuiltinOptionsType()), operator.BuiltinOptions()
    if name is None:
        return f"options of the unknown kind {operator.BuiltinOptionsType()}"
    if name == "NONE" or table is None:
        return None
    options = getattr(schema, name)()
    options.Init(table.Bytes, table.Pos)
    for accessor in _AT_LEAST_ONE:
        value = getattr(options, accessor, lambda: 1)()
        if value < 1:
            return f"{accessor} {value}"
    return None


def _indices(values: npt.NDArray[np.int32] | int) -> list[int]:
    return [] if isinstance(values, int) else [int(value) for value in values]


def _needed(content: bytes) -> tuple[int, int]:
    """The bytes of all that is stored, with its description in Python, and of the largest tensors that are used at one time."""
    model = flatbuffer.root(content)
    stored = at_once = 0
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        room = []
        for index in range(graph.TensorsLength()):
            tensor = graph.Tensors(index)
            size = _SIZES.get(flatbuffer.type_names()[tensor.Type()], 1)
            room.append(sizes.array_room(tensor.ShapeAsNumpy() if tensor.ShapeLength() else (), size))
            quantization = tensor.Quantization()
            entries = 0 if quantization is None else quantization.ScaleLength() + quantization.ZeroPointLength()
            # Tables may be shared, so that a small file describes any number of tensors.
            stored += _ENTRY * (1 + entries) + (room[-1] if tensor.Sparsity() is not None else 0)
        for position in range(graph.OperatorsLength()):
            operator = graph.Operators(position)
            used = {*_indices(operator.InputsAsNumpy()), *_indices(operator.OutputsAsNumpy())}
            at_once = max(at_once, sum(room[index] for index in used if index >= 0))
    return stored, at_once
