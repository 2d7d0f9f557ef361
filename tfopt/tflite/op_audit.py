"""What a TFLite file is made of, and which Keras layer each float op in an integer model comes from."""

import collections
import dataclasses

# Ops whose activations decide what kind of quantization a file has.
_COMPUTING = {
    "ADD", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MEAN", "MUL",
    "SOFTMAX", "LOGISTIC", "TANH", "SUB", "TRANSPOSE_CONV", "UNIDIRECTIONAL_SEQUENCE_LSTM",
}  # fmt: skip
_INTEGER_KINDS = {"int8": "int8", "int16": "int16x8"}


@dataclasses.dataclass(frozen=True)
class FloatOp:
    """An op that an integer model should not have: a float one, or an inner QUANTIZE or DEQUANTIZE.

    Attributes:
        op: str, its name in the schema.
        tensor: str, name of its first output.
        layer: str, the Keras layer that caused it; "" where the tensor's name does not tell.
    """

    op: str
    tensor: str
    layer: str


@dataclasses.dataclass(frozen=True)
class Structure:
    """What a TFLite file is made of.

    Attributes:
        quantization: str, as found: "int8", "int16x8", "dynamic", "float16" or "float32".
        ops: dict of op name -> count.
        tensors: tuple of `flatbuffer.Tensor`: name, role, shape, dtype, scale and zero point of each.
        float_ops: tuple of `FloatOp`, only for "int8" and "int16x8".
        partitions: int, runs of ops that the CPU delegate took over; 1 is best.
    """

    quantization: str
    ops: dict
    tensors: tuple
    float_ops: tuple
    partitions: int

    @property
    def inputs(self):
        return [tensor for tensor in self.tensors if tensor.role == "input"]

    @property
    def outputs(self):
        return [tensor for tensor in self.tensors if tensor.role == "output"]

    def dtypes(self, role):
        """Counts the dtypes of the tensors that are "input", "output", "weight" or "activation": {dtype: count}."""
        return dict(collections.Counter(tensor.dtype for tensor in self.tensors if tensor.role == role))


def examine(interpreter, layer_names=(), quantization=None):
    """Takes a file apart.

    Args:
        interpreter: an `Interpreter` of it.
        quantization: what the file is meant to be; None if only the file can tell.
        layer_names: names of the Keras model's layers, to name the culprits.

    Returns:
        `Structure`.
    """
    graph = interpreter.graph
    kind = _quantization(graph)
    integer = (quantization or kind) in _INTEGER_KINDS.values()
    float_ops = tuple(_float_ops(graph, set(layer_names))) if integer else ()
    ops = dict(collections.Counter(operator.name for operator in graph.operators).most_common())
    return Structure(kind, ops, graph.tensors, float_ops, interpreter.delegate_partitions())


def output_scales(graph, outputs):
    """The step in real units of each output of a file: its own scale, or that of what is dequantized into it.

    Args:
        graph: `flatbuffer.Graph`.
        outputs: indices of the output tensors.

    Returns:
        list of float, 0.0 where an output does not come from integers.
    """
    source = {operator.outputs[0]: operator.inputs[0] for operator in graph.operators if operator.name == "DEQUANTIZE"}
    tensors = [graph.tensors[source.get(index, index)] for index in outputs]
    return [tensor.scale[0] if len(tensor.scale) == 1 else 0.0 for tensor in tensors]


def layer_of(tensor_name, layer_names):
    """The Keras layer whose op wrote a tensor, from the tensor's name; "" where no name matches."""
    for part in tensor_name.split(";"):
        for word in reversed(part.split("/")):
            # Tracing a model a second time appends _1 to every scope.
            for candidate in (word, word.rpartition("_")[0]):
                if candidate in layer_names:
                    return candidate
    return ""


def _quantization(graph):
    activations = collections.Counter()
    for operator in graph.operators:
        if operator.name in _COMPUTING:
            activations.update(graph.tensors[index].dtype for index in operator.outputs if graph.tensors[index].role != "weight")
    integer = sum(activations[dtype] for dtype in _INTEGER_KINDS)
    if integer:
        return "int16x8" if activations["int16"] > activations["int8"] else "int8"
    scaled = [graph.tensors[index].dtype for index in graph.inputs if graph.tensors[index].scale]
    if scaled:  # what takes quantized inputs claims to compute with them, however much of it is float
        return _INTEGER_KINDS.get(scaled[0], "int8")
    stored = {tensor.dtype for tensor in graph.tensors if tensor.role == "weight" and tensor.shape}
    if any(tensor.role == "weight" and tensor.dtype == "int8" and tensor.scale for tensor in graph.tensors):
        return "dynamic"
    return "float16" if "float16" in stored else "float32"


def _float_ops(graph, layer_names):
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
        yield FloatOp(operator.name, name, layer_of(name, layer_names))
