"""The parts of a TFLite file, and the Keras layer that each float operation in an integer model comes from."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from tfopt.tflite.flatbuffer import Graph, Role, Tensor
from tfopt.tflite.layer_names import NO_SCOPES, LayerNames, Scopes

if TYPE_CHECKING:
    from tfopt.tflite.interpreter import Interpreter

# Operations whose activations decide what kind of quantization a file has.
_COMPUTING = {
    "ADD", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MEAN", "MUL",
    "SOFTMAX", "LOGISTIC", "TANH", "SUB", "TRANSPOSE_CONV", "UNIDIRECTIONAL_SEQUENCE_LSTM",
}  # fmt: skip
_INTEGER_KINDS = {"int8": "int8", "int16": "int16x8"}


@dataclasses.dataclass(frozen=True)
class FloatOp:
    """An operation that an integer model should not have: a float one, or a QUANTIZE or DEQUANTIZE inside the model.

    Attributes:
        op: its name in the schema.
        tensor: name of its first output.
        layer: the Keras layer that caused it; "" where the tensor's name does not tell.
    """

    op: str
    tensor: str
    layer: str


@dataclasses.dataclass(frozen=True)
class Structure:
    """The parts of a TFLite file.

    Attributes:
        quantization: as found: "int8", "int16x8", "dynamic", "float16" or "float32".
        ops: name of an operation in the schema -> number of such operations.
        tensors: name, role, shape, dtype, scale and zero point of each.
        float_ops: only for "int8" and "int16x8".
        partitions: runs of operations that the CPU delegate took over; 1 is best.
    """

    quantization: str
    ops: dict[str, int]
    tensors: tuple[Tensor, ...]
    float_ops: tuple[FloatOp, ...]
    partitions: int

    @property
    def inputs(self) -> list[Tensor]:
        """The input tensors, in the order of the file's tensors."""
        return [tensor for tensor in self.tensors if tensor.role == "input"]

    @property
    def outputs(self) -> list[Tensor]:
        """The output tensors, in the order of the file's tensors."""
        return [tensor for tensor in self.tensors if tensor.role == "output"]

    def dtypes(self, role: Role) -> dict[str, int]:
        """Counts the dtypes of the tensors with a role: dtype -> number of tensors."""
        return dict(collections.Counter(tensor.dtype for tensor in self.tensors if tensor.role == role))


def examine(
    interpreter: Interpreter, layer_names: Collection[str] = (), quantization: str | None = None, scopes: Scopes = NO_SCOPES
) -> Structure:
    """Lists the parts of a file.

    Example:

    ```python
    found = examine(Interpreter("model.tflite"), [layer.name for layer in model.layers])
    print(found.ops, found.float_ops)
    ```

    Args:
        interpreter: of the file.
        layer_names: names of the Keras model's layers, to tell where float operations come from.
        quantization: the kind of file that was asked for; None if only the file can tell.
        scopes: of a trace of the Keras model.
    """
    graph = interpreter.graph
    kind = _quantization(graph)
    integer = (quantization or kind) in _INTEGER_KINDS.values()
    float_ops = tuple(_float_ops(graph, layer_names, scopes)) if integer else ()
    ops = dict(collections.Counter(operator.name for operator in graph.operators).most_common())
    return Structure(kind, ops, graph.tensors, float_ops, interpreter.delegate_partitions())


def output_scales(graph: Graph, outputs: Sequence[int]) -> list[float]:
    """The step in real units of each output of a file: its own scale, or that of the integers that are dequantized into it.

    Args:
        graph: the structure of the file.
        outputs: indices of the output tensors.

    Returns:
        One scale for each of `outputs`; 0.0 where an output does not come from integers.
    """
    source = {operator.outputs[0]: operator.inputs[0] for operator in graph.operators if operator.name == "DEQUANTIZE"}
    tensors = [graph.tensors[source.get(index, index)] for index in outputs]
    return [tensor.scale[0] if len(tensor.scale) == 1 else 0.0 for tensor in tensors]


def _quantization(graph: Graph) -> str:
    activations: collections.Counter[str] = collections.Counter()
    for operator in graph.operators:
        if operator.name in _COMPUTING:
            activations.update(graph.tensors[index].dtype for index in operator.outputs if graph.tensors[index].role != "weight")
    integer = sum(activations[dtype] for dtype in _INTEGER_KINDS)
    if integer:
        return "int16x8" if activations["int16"] > activations["int8"] else "int8"
    scaled = [graph.tensors[index].dtype for index in graph.inputs if graph.tensors[index].scale]
    if scaled:  # a file with quantized inputs claims to compute with them, however much of it is float
        return _INTEGER_KINDS.get(scaled[0], "int8")
    stored = {tensor.dtype for tensor in graph.tensors if tensor.role == "weight" and tensor.shape}
    if any(tensor.role == "weight" and tensor.dtype == "int8" and tensor.scale for tensor in graph.tensors):
        return "dynamic"
    return "float16" if "float16" in stored else "float32"


def _float_ops(graph: Graph, layer_names: Collection[str], scopes: Scopes) -> Iterator[FloatOp]:
    names = LayerNames(layer_names, (tensor.name for tensor in graph.tensors), scopes)
    for operator in graph.operators:
        ends = {"DEQUANTIZE": operator.outputs, "QUANTIZE": operator.inputs}.get(operator.name)
        if ends is not None:
            border = graph.outputs if operator.name == "DEQUANTIZE" else graph.inputs
            if operator.name == "QUANTIZE" and graph.tensors[operator.inputs[0]].dtype != "float32":
                continue  # from one integer scale to another
            if all(index in border for index in ends):
                continue
        elif not any(graph.tensors[index].dtype in ("float32", "float16") for index in (*operator.inputs, *operator.outputs)):
            continue
        name = graph.tensors[operator.outputs[0]].name
        yield FloatOp(operator.name, name, names.writer(name))
