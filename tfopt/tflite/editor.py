"""Change the operations and tensors of a TFLite file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfopt.tflite import flatbuffer

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

# Operations that can be made -> their table of options in the schema.
_OPTIONS = {
    "ADD": "AddOptions",
    "CAST": "CastOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "DEQUANTIZE": "DequantizeOptions",
    "GATHER": "GatherOptions",
    "LESS": "LessOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "MUL": "MulOptions",
    "QUANTIZE": "QuantizeOptions",
    "RESHAPE": "ReshapeOptions",
    "SELECT_V2": "SelectV2Options",
    "STRIDED_SLICE": "StridedSliceOptions",
}


class Editor:
    """The first subgraph of a TFLite file, and all that is needed to change it.

    Args:
        content: the bytes of the file.

    Attributes:
        schema: the module of the generated Python of the schema.
        model, graph: the file and its first subgraph as the schema has them.
    """

    model: schema.ModelT
    graph: schema.SubGraphT

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema: Any = schema
        self.model = flatbuffer.unpack(content)
        self.graph = self.model.subgraphs[0]

    def name(self, operator: schema.OperatorT) -> str:
        """The schema's name of an operation, such as "CONV_2D"."""
        return flatbuffer.op_name(self.model, operator)

    def tensor(self, index: int) -> schema.TensorT:
        """A tensor of the subgraph."""
        return self.graph.tensors[index]

    def affine(self, index: int) -> tuple[float, int] | None:
        """(scale, zero point) of a tensor that has one of each, else None."""
        quantization = self.tensor(index).quantization
        if quantization is None or quantization.scale is None or len(quantization.scale) != 1:
            return None
        return float(quantization.scale[0]), int(quantization.zeroPoint[0])

    def add_tensor(
        self,
        name: str,
        shape: Iterable[int],
        kind: int,
        like: schema.TensorT | None = None,
        data: npt.NDArray[Any] | None = None,
    ) -> int:
        """Adds a tensor of the type `kind` (`TensorType` of the schema) with the quantization of `like`; returns its index.

        With `data`, an array of that shape and type, the tensor is a constant.
        """
        return flatbuffer.add_tensor(self.model, name, shape, data, kind=kind, like=like)

    def quantization(self, scales: npt.ArrayLike, zero_points: npt.ArrayLike, axis: int = 0) -> schema.QuantizationParametersT:
        """An affine quantization, with one scale and zero point in all or one of each for each channel along `axis`."""
        quantization = self.schema.QuantizationParametersT()
        quantization.scale = np.array(scales, np.float32)
        quantization.zeroPoint = np.array(zero_points, np.int64)
        quantization.quantizedDimension = axis
        return quantization

    def operator(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int], *, version: int = 1, **options: Any
    ) -> schema.OperatorT:
        """Makes an operation on tensors that are given by their indices.

        Args:
            name: of the schema, a key of `_OPTIONS`.
            inputs, outputs: indices of tensors.
            version: of the kernel that is needed.
            options: fields of the options table of the operation.
        """
        operator = self.schema.OperatorT()
        operator.opcodeIndex = self._code(getattr(self.schema.BuiltinOperator, name), version)
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        table = _OPTIONS[name]
        operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, table)
        operator.builtinOptions = getattr(self.schema, f"{table}T")()
        for field, value in options.items():
            setattr(operator.builtinOptions, field, value)
        return operator

    def require_version(self, operator: schema.OperatorT, version: int) -> None:
        """Asks for a kernel of at least this version for an operation."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        if code.version < version:
            operator.opcodeIndex = self._code(code.builtinCode, version)

    def _code(self, builtin: int, version: int) -> int:
        """The index of an operation code of the file, which is added if it is not there."""
        for index, code in enumerate(self.model.operatorCodes):
            if (code.builtinCode, code.version) == (builtin, version):
                return index
        code = self.schema.OperatorCodeT()
        code.builtinCode = builtin
        code.deprecatedBuiltinCode = min(builtin, 127)  # a byte, which old readers look at
        code.version = version
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def remove_unread(self) -> None:
        """Drops the operations whose results nothing reads."""
        read = {int(index) for index in self.graph.outputs}
        kept: list[schema.OperatorT] = []
        for operator in reversed(self.graph.operators):
            if any(int(index) in read for index in operator.outputs):
                read |= {int(index) for index in operator.inputs}
                kept.append(operator)
        self.graph.operators = kept[::-1]


def is_constant(editor: Editor, tensor: schema.TensorT) -> bool:
    """Whether the file holds the values of a tensor."""
    data = editor.model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def text(name: str | bytes | None) -> str:
    """The name of a tensor as text; the generated Python reads bytes."""
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name or "")
