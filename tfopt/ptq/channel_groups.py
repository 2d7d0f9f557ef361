"""Which channels of which tensors may be scaled together without changing what a float TFLite file computes.

Where `f(s x) = s f(x)` holds, a channel's scale passes through: ReLU, pooling, adding two tensors of the same scale. A
convolution or dense layer takes its inputs' scale back with its weights and gives its outputs any other. All else needs the
true values, so that the scale there is 1. (Nagel et al., arXiv:1906.04721, sec. 4.1, for a pair of layers; here for any graph.)
"""

import dataclasses

import numpy as np

from tfopt.tflite import flatbuffer

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_POOLS = ("AVERAGE_POOL_2D", "MAX_POOL_2D")
_HOMOGENEOUS = ("RELU", "LEAKY_RELU", "ABS", "NEG", "PRELU", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
_REDUCTIONS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")
_RESHAPES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")


@dataclasses.dataclass(frozen=True)
class Channels:
    """The channels of a file, each with the number of the group whose scale it shares.

    Attributes:
        groups: dict of tensor index -> int (size of the last axis,).
        free: bool (groups,), whether a group may have another scale than 1.
        clipped: set of tensors that a fused RELU6 bounds: their values must stay below 6.
        gates: list of (operator index, tensor index) of each LOGISTIC in a swish, and its input: it needs true values, but
            its input's scale may pass it by, through the multiplication.
    """

    groups: dict
    free: np.ndarray
    clipped: frozenset
    gates: tuple


class _Union:
    """Union-find over channels; channel 0 stands for all whose scale is 1."""

    def __init__(self):
        self.parents = [0]

    def new(self, count):
        start = len(self.parents)
        self.parents += range(start, start + count)
        return np.arange(start, start + count)

    def find(self, item):
        while self.parents[item] != item:
            self.parents[item] = self.parents[self.parents[item]]
            item = self.parents[item]
        return item

    def join(self, ones, others):
        for one, other in zip(np.ravel(ones).tolist(), np.ravel(others).tolist(), strict=True):
            one, other = self.find(one), self.find(other)
            self.parents[max(one, other)] = min(one, other)

    def fix(self, items):
        self.join(items, np.zeros_like(items))


def group(model):
    """Follows every channel through the first subgraph.

    Args:
        model: `ModelT` of a float file with one subgraph.

    Returns:
        `Channels`.
    """
    subgraph = model.subgraphs[0]
    union, known, clipped, gates = _Union(), {}, set(), []
    shapes = {index: _shape(tensor) for index, tensor in enumerate(subgraph.tensors)}
    producers = {int(output): operator for operator in subgraph.operators for output in operator.outputs}

    def of(index):
        if index not in known:  # an input of the file
            known[index] = union.new(shapes[index][-1] if shapes[index] else 1)
            union.fix(known[index])
        return known[index]

    for place, operator in enumerate(subgraph.operators):
        name = flatbuffer.op_name(model, operator)
        inputs = [int(index) for index in operator.inputs if index >= 0]
        computed = [index for index in inputs if flatbuffer.read_constant(model, subgraph.tensors[index]) is None]
        output = int(operator.outputs[0])
        act = _activation(model, operator)
        passed = None
        if name in WEIGHTED and computed == inputs[:1] and act in ("NONE", "RELU", "RELU6") and len(operator.outputs) == 1:
            of(inputs[0])
            known[output] = union.new(shapes[output][-1])
            if act == "RELU6":
                clipped.add(output)
            continue
        if name == "LOGISTIC" and _is_gate(model, subgraph, inputs[0], output):
            gates.append((place, inputs[0]))
            of(inputs[0])
            known[output] = union.new(shapes[output][-1])
            union.fix(known[output])
            continue
        if act in ("NONE", "RELU") and len(operator.outputs) == 1 and shapes[output]:
            passed = _passed(model, name, operator, [(index, shapes[index], of) for index in computed], shapes, union, producers)
        if passed is not None:
            known[output] = passed
            continue
        for index in computed:
            union.fix(of(index))
        for index in map(int, operator.outputs):
            known[index] = union.new(shapes[index][-1] if shapes[index] else 1)
            union.fix(known[index])
    for index in map(int, subgraph.outputs):
        union.fix(of(index))
    roots = np.array([union.find(item) for item in range(len(union.parents))])
    return Channels({index: roots[items] for index, items in known.items()}, roots > 0, frozenset(clipped), tuple(gates))


def input_scales(model, operator, scales):
    """The scales of an op's first input, one for each input channel of its weights.

    Args:
        model, operator: `ModelT` and a weighted `OperatorT` of it.
        scales: float (channels,), those of the tensor's last axis.

    Returns:
        float array that the weights are to be divided by, in a shape that broadcasts.
    """
    weights = model.subgraphs[0].tensors[int(operator.inputs[1])]
    shape, name = _shape(weights), flatbuffer.op_name(model, operator)
    if name == "DEPTHWISE_CONV_2D":
        return np.repeat(scales, shape[-1] // len(scales))
    if name == "FULLY_CONNECTED":  # the op flattens its input, with the channels innermost
        return np.tile(scales, shape[-1] // len(scales))
    groups = len(scales) // shape[-1]  # of a grouped convolution
    return np.repeat(scales.reshape(groups, 1, 1, -1), shape[0] // groups, axis=0)


def output_axis(name):
    """The axis of an op's weights that its output channels lie on."""
    return -1 if name == "DEPTHWISE_CONV_2D" else 0


def _passed(model, name, operator, computed, shapes, union, producers):
    """Channels of the output where the op lets scales pass, else None."""
    output = int(operator.outputs[0])
    tensors = model.subgraphs[0].tensors
    inputs = [(index, of(index)) for index, _, of in computed]
    if not inputs or any(not shapes[index] for index, _ in inputs):
        return None
    first, own = inputs[0]
    same_width = shapes[first][-1] == shapes[output][-1]
    constants = [flatbuffer.read_constant(model, tensors[int(index)]) for index in operator.inputs[1:] if index >= 0]
    if name in (*_POOLS, *_HOMOGENEOUS) and len(inputs) == 1 and same_width:
        return own
    if name in _REDUCTIONS and len(inputs) == 1 and constants and constants[0] is not None:
        rank = len(shapes[first])
        return own if same_width and all(int(axis) % rank != rank - 1 for axis in np.ravel(constants[0])) else None
    if name == "PAD" and len(inputs) == 1 and constants and constants[0] is not None:
        return own if not np.any(constants[0][-1]) else None
    if name in _RESHAPES and len(inputs) == 1:
        spread = np.broadcast_to(own, shapes[first]).reshape(-1, shapes[output][-1])
        return spread[0] if (spread == spread[0]).all() else None
    if name == "ADD" and len(inputs) == 2 and shapes[first] == shapes[inputs[1][0]]:
        union.join(own, inputs[1][1])
        return own
    if name == "MUL" and len(inputs) == 1 and shapes[first] == shapes[output]:
        return own
    if name == "MUL" and len(inputs) == 2:
        # A gate in [0, 1] does not care for the scale of what it lets through.
        for (index, channels), (other, _) in (inputs, inputs[::-1]):
            gate = other in producers and flatbuffer.op_name(model, producers[other]) == "LOGISTIC"
            if gate and shapes[index] == shapes[output]:
                return channels
        return None
    if name == "CONCATENATION" and len(inputs) == len(operator.inputs):
        if operator.builtinOptions.axis % len(shapes[output]) == len(shapes[output]) - 1:
            return np.concatenate([channels for _, channels in inputs])
        for _, channels in inputs[1:]:
            union.join(own, channels)
        return own
    return None


def _is_gate(model, subgraph, source, gate):
    """Whether the LOGISTIC output `gate` is used only to be multiplied with its own input, which makes a swish."""
    users = [operator for operator in subgraph.operators if gate in operator.inputs]
    return len(users) == 1 and flatbuffer.op_name(model, users[0]) == "MUL" and {source, gate} == set(map(int, users[0].inputs))


def _activation(model, operator):
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.ActivationFunctionType).items() if isinstance(value, int)}
    return names[getattr(operator.builtinOptions, "fusedActivationFunction", 0)]


def _shape(tensor):
    return () if tensor.shape is None else tuple(int(size) for size in tensor.shape)
