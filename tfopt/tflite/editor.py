"""Change the operators and tensors of a TFLite file."""

import numpy as np

from tfopt.tflite import flatbuffer

# Operators that can be made -> their table of options in the schema.
_OPTIONS = {
    "ADD": "AddOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "LESS": "LessOptions",
    "MUL": "MulOptions",
    "QUANTIZE": "QuantizeOptions",
    "SELECT_V2": "SelectV2Options",
    "STRIDED_SLICE": "StridedSliceOptions",
}


class Editor:
    """A TFLite file's first subgraph, with what is needed to change it.

    Attributes:
        model, graph: the schema's `ModelT` and `SubGraphT`.
    """

    def __init__(self, content):
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.model = flatbuffer.unpack(content)
        self.graph = self.model.subgraphs[0]

    def name(self, operator):
        """The schema's name of an operator."""
        return flatbuffer.op_name(self.model, operator)

    def tensor(self, index):
        return self.graph.tensors[index]

    def affine(self, index):
        """(scale, zero point) of a tensor that has one of each, else None."""
        quantization = self.tensor(index).quantization
        if quantization is None or quantization.scale is None or len(quantization.scale) != 1:
            return None
        return float(quantization.scale[0]), int(quantization.zeroPoint[0])

    def add_tensor(self, name, shape, kind, like=None, data=None):
        """Adds a tensor with the quantization of `like`, constant if `data` (array) is given, and returns its index."""
        return flatbuffer.add_tensor(self.model, name, shape, data, kind=kind, like=like)

    def quantization(self, scales, zero_points, axis=0):
        """An affine quantization, for a tensor that has none."""
        quantization = self.schema.QuantizationParametersT()
        quantization.scale = np.array(scales, np.float32)
        quantization.zeroPoint = np.array(zero_points, np.int64)
        quantization.quantizedDimension = axis
        return quantization

    def operator(self, name, inputs, outputs, *, version=1, **options):
        """A new operator; `options` are fields of its options table, if it has one."""
        code = self.schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(self.schema.BuiltinOperator, name)
        code.version = version
        same = [
            index
            for index, other in enumerate(self.model.operatorCodes)
            if (other.builtinCode, other.version) == (code.builtinCode, version)
        ]
        if not same:
            self.model.operatorCodes.append(code)
        operator = self.schema.OperatorT()
        operator.opcodeIndex = same[0] if same else len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        table = _OPTIONS[name]
        operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, table)
        operator.builtinOptions = getattr(self.schema, f"{table}T")()
        for field, value in options.items():
            setattr(operator.builtinOptions, field, value)
        return operator


def is_constant(editor, tensor):
    """Whether the file holds the values of a tensor."""
    data = editor.model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def text(name):
    """A name as the schema has it, as str."""
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name or "")
