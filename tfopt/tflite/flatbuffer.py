"""The structure of a TFLite file: read it, change it, pack it again."""

import dataclasses
import functools

import numpy as np

from tfopt.errors import LoadError


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor of the first subgraph.

    Attributes:
        index: int.
        name: str.
        shape: tuple of int.
        dtype: str, in lower case: "int8", "float32", ...
        role: "input", "output", "weight" (stored in the file) or "activation".
        scale: tuple of float; one per channel, one in all, or none where the tensor is not quantized.
        zero_point: tuple of int, like `scale`.
    """

    index: int
    name: str
    shape: tuple
    dtype: str
    role: str
    scale: tuple
    zero_point: tuple


@dataclasses.dataclass(frozen=True)
class Operator:
    """One op: its name in the schema ("CONV_2D"), and the indices of its tensors (optional inputs left out)."""

    name: str
    inputs: tuple
    outputs: tuple


@dataclasses.dataclass(frozen=True)
class Graph:
    """The first subgraph of a TFLite file; `subgraphs` counts all."""

    tensors: tuple
    operators: tuple
    inputs: tuple
    outputs: tuple
    subgraphs: int


def parse(content):
    """Reads the structure of a file that the interpreter has already verified.

    Args:
        content: bytes of a `.tflite` file.

    Returns:
        A `Graph`.

    Raises:
        LoadError: the bytes are no TFLite file.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = root(content)
    types = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    subgraph = model.Subgraphs(0)
    inputs, outputs = _indices(subgraph.InputsAsNumpy()), _indices(subgraph.OutputsAsNumpy())
    tensors = []
    for index in range(subgraph.TensorsLength()):
        tensor = subgraph.Tensors(index)
        role = "input" if index in inputs else "output" if index in outputs else "activation"
        if role == "activation" and model.Buffers(tensor.Buffer()).DataLength() > 0:
            role = "weight"
        quantization = tensor.Quantization()
        scale = zero_point = ()
        if quantization is not None and quantization.ScaleLength():
            scale = tuple(float(value) for value in quantization.ScaleAsNumpy())
            zero_point = tuple(int(value) for value in quantization.ZeroPointAsNumpy())
        shape = tuple(int(size) for size in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else ()
        name = (tensor.Name() or b"").decode(errors="replace")
        tensors.append(Tensor(index, name, shape, types.get(tensor.Type(), "?"), role, scale, zero_point))
    operators = []
    for index in range(subgraph.OperatorsLength()):
        operator = subgraph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        name = _builtin_names().get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "?")
        if name == "CUSTOM":
            name = (code.CustomCode() or b"CUSTOM").decode(errors="replace")
        operators.append(Operator(name, _indices(operator.InputsAsNumpy()), _indices(operator.OutputsAsNumpy())))
    return Graph(tuple(tensors), tuple(operators), inputs, outputs, model.SubgraphsLength())


def unpack(content):
    """The whole file as the schema's object, a `ModelT`, which can be edited and packed again."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(root(content))


def pack(model):
    """The bytes of a `ModelT`, with its weights aligned as the kernels need them."""
    import flatbuffers

    class AlignedBuilder(flatbuffers.Builder):
        # Kernels read weights in 16-byte lanes: the schema asks for that alignment, the generated Python ignores it.
        def CreateNumpyVector(self, values):
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


def read_constant(model, tensor):
    """The numbers that a file stores for a tensor: a NumPy array, or None for what is only known when the model runs.

    Args:
        model: a `ModelT`.
        tensor: a `TensorT` of it, float32 or int32.
    """
    from ai_edge_litert import schema_py_generated as schema

    data = model.buffers[tensor.buffer].data
    dtype = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.INT32: np.int32}.get(tensor.type)
    if data is None or not len(data) or dtype is None:
        return None
    shape = () if tensor.shape is None else tuple(tensor.shape)
    return np.asarray(data, np.uint8).view(dtype).reshape(shape)


def add_tensor(model, name, shape, values=None, *, kind=0, like=None):
    """Adds a tensor to the first subgraph and returns its index.

    Args:
        model: a `ModelT`.
        name: str or bytes.
        shape: ints.
        values: None, or an array of the tensor's dtype, which it holds as a constant.
        kind: int, its dtype as a `TensorType` of the schema; 0 is float32.
        like: None, or the `TensorT` whose quantization it takes.
    """
    from ai_edge_litert import schema_py_generated as schema

    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = name, np.asarray(shape, np.int32), kind
    tensor.quantization = like.quantization if like is not None else None
    tensor.buffer = 0  # the empty one, which every file begins with
    if values is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1


def op_name(model, operator):
    """The schema's name of an `OperatorT`, such as "CONV_2D"."""
    code = model.operatorCodes[operator.opcodeIndex]
    return _builtin_names().get(max(code.builtinCode, code.deprecatedBuiltinCode), "?")


@functools.cache
def _builtin_names():
    from ai_edge_litert import schema_py_generated as schema

    return {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}


def root(content):
    """The file's root table, in the generated Python of the schema."""
    from ai_edge_litert import schema_py_generated as schema

    if content[4:8] != b"TFL3":
        received = f"bytes that start with {bytes(content[:8])!r}" if content else "no bytes"
        raise LoadError(f"A TFLite file is required. Received: {received}. Make one with `tfopt convert`.")
    return schema.Model.GetRootAs(content, 0)


def _indices(values):
    return () if isinstance(values, int) else tuple(int(value) for value in values if value >= 0)
