"""The structure of a TFLite file: read it, change it, pack it again."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from tfopt.errors import LoadError

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

Role = Literal["input", "output", "weight", "activation"]
"""What a tensor is for; a "weight" is stored in the file."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor of the first subgraph.

    Attributes:
        index: its place among the tensors of the subgraph.
        name: as the converter wrote it.
        shape: sizes, with the batch first.
        dtype: in lower case: "int8", "float32", ...
        role: what the tensor is for.
        scale: in real units; one for each channel, one in all, or none where the tensor is not quantized.
        zero_point: like `scale`, in steps.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    role: Role
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Operator:
    """One operation: its name in the schema ("CONV_2D"), and the indices of its tensors (optional inputs left out)."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Graph:
    """The first subgraph of a TFLite file; `inputs` and `outputs` are indices of tensors, `subgraphs` counts all subgraphs."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    subgraphs: int


def parse(content: bytes) -> Graph:
    """Reads the structure of a file that the interpreter has already verified.

    Raises:
        LoadError: the bytes are no TFLite file.
    """
    model = root(content)
    subgraph = model.Subgraphs(0)
    inputs, outputs = _indices(subgraph.InputsAsNumpy()), _indices(subgraph.OutputsAsNumpy())
    tensors = []
    for index in range(subgraph.TensorsLength()):
        tensor = subgraph.Tensors(index)
        role: Role = "input" if index in inputs else "output" if index in outputs else "activation"
        if role == "activation" and model.Buffers(tensor.Buffer()).DataLength() > 0:
            role = "weight"
        quantization = tensor.Quantization()
        scale: tuple[float, ...] = ()
        zero_point: tuple[int, ...] = ()
        if quantization is not None and quantization.ScaleLength():
            scale = tuple(float(value) for value in quantization.ScaleAsNumpy())
            zero_point = tuple(int(value) for value in quantization.ZeroPointAsNumpy())
        shape = tuple(int(size) for size in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else ()
        name = (tensor.Name() or b"").decode(errors="replace")
        tensors.append(Tensor(index, name, shape, type_names().get(tensor.Type(), "?"), role, scale, zero_point))
    operators = []
    for index in range(subgraph.OperatorsLength()):
        operator = subgraph.Operators(index)
        name = code_name(model.OperatorCodes(operator.OpcodeIndex()))
        operators.append(Operator(name, _indices(operator.InputsAsNumpy()), _indices(operator.OutputsAsNumpy())))
    return Graph(tuple(tensors), tuple(operators), inputs, outputs, model.SubgraphsLength())


def unpack(content: bytes) -> schema.ModelT:
    """The whole file as the schema's object, which can be edited and packed again."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(root(content))


def pack(model: schema.ModelT) -> bytes:
    """The bytes of a model, with its weights aligned as the kernels need them."""
    import flatbuffers

    class AlignedBuilder(flatbuffers.Builder):
        head: int

        # Kernels read weights in 16-byte lanes: the schema asks for that alignment, the generated Python ignores it.
        def CreateNumpyVector(self, values: npt.NDArray[Any]) -> int:
            if values.dtype.itemsize != 1:
                return super().CreateNumpyVector(values)
            data = values.tobytes()
            self.StartVector(1, len(data), 16)
            self.head = self.head - len(data)
            self.Bytes[self.head : self.head + len(data)] = data
            return self.EndVector()

    size = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    builder = AlignedBuilder(size + 65536)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def read_constant(model: schema.ModelT, tensor: schema.TensorT) -> npt.NDArray[Any] | None:
    """The numbers that a file stores for a tensor of it, float32 or int32; None for a tensor that the model computes."""
    from ai_edge_litert import schema_py_generated as schema

    data = model.buffers[tensor.buffer].data
    dtype = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.INT32: np.int32}.get(tensor.type)
    if data is None or not len(data) or dtype is None:
        return None
    shape = () if tensor.shape is None else tuple(tensor.shape)
    return np.asarray(data, np.uint8).view(dtype).reshape(shape)


def add_tensor(
    model: schema.ModelT,
    name: str | bytes,
    shape: Iterable[int],
    values: npt.NDArray[Any] | None = None,
    *,
    kind: int = 0,
    like: schema.TensorT | None = None,
) -> int:
    """Adds a tensor to the first subgraph and returns its index.

    Args:
        model: the file to change.
        name: of the new tensor.
        shape: of the new tensor.
        values: None, or the array that the tensor holds as a constant, in the tensor's dtype.
        kind: its dtype as a `TensorType` of the schema; 0 is float32.
        like: None, or the tensor whose quantization it takes.
    """
    from ai_edge_litert import schema_py_generated as schema

    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = name, np.array([*shape], np.int32), kind
    tensor.quantization = like.quantization if like is not None else None
    tensor.buffer = 0  # the empty one, which every file begins with
    if values is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1


def code_name(code: schema.OperatorCode) -> str:
    """The schema's name of an operation of a file that is only read; that of its own for a custom one, "?" for an unknown one."""
    name = _builtin_names().get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "?")
    return (code.CustomCode() or b"CUSTOM").decode(errors="replace") if name == "CUSTOM" else name


def op_name(model: schema.ModelT, operator: schema.OperatorT) -> str:
    """The schema's name of an operation of a model, such as "CONV_2D"; "?" if the schema does not know it."""
    code = model.operatorCodes[operator.opcodeIndex]
    return _builtin_names().get(max(code.builtinCode, code.deprecatedBuiltinCode), "?")


@functools.cache
def type_names() -> dict[int, str]:
    """`TensorType` of the schema -> dtype in lower case: {0: "float32", 9: "int8", ...}."""
    from ai_edge_litert import schema_py_generated as schema

    return {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}


@functools.cache
def _builtin_names() -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}


def root(content: bytes) -> schema.Model:
    """The file's root table, in the generated Python of the schema.

    Raises:
        LoadError: the bytes are no TFLite file.
    """
    from ai_edge_litert import schema_py_generated as schema

    if content[4:8] != b"TFL3":
        received = f"bytes that start with {bytes(content[:8])!r}" if content else "no bytes"
        raise LoadError(f"A TFLite file is required. Received: {received}. Make one with `tfopt convert`.")
    return schema.Model.GetRootAs(content, 0)


def _indices(values: npt.NDArray[np.int32] | int) -> tuple[int, ...]:
    # The generated Python returns the number 0 in place of an empty vector.
    return () if isinstance(values, int) else tuple(int(value) for value in values if value >= 0)
