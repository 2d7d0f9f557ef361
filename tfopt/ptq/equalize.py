"""Scale the channels of a float TFLite file so that each fills the range of its tensor, without changing the function.

int8 gives an activation tensor one scale, so that a channel with a hundredth of the tensor's range keeps 2 or 3 of 256 steps.
Weights have one scale for each output channel and lose nothing. Cross-layer equalization: Nagel et al., arXiv:1906.04721, sec. 4.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tfopt.ptq import channel_groups
from tfopt.ptq.observe import Activation
from tfopt.tflite import flatbuffer

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

MAX_SCALE = 255.0  # a channel with less than 1/255 of the tensor's range is not worth more
HEADROOM = 1.25  # of a scaled channel below the range: without it, the first sample beyond those seen would be clipped
GATE_LIMIT = 8.0  # sigmoid(8) is 1 but for 0.0003, less than a tenth of its int8 step


def equalize(
    content: bytes, activations: Mapping[int, Activation], *, balance: bool
) -> tuple[bytes, int, dict[int, tuple[float, float]]]:
    """Scales channels up to their tensor's range.

    A swish is `x * sigmoid(x)`: with channels scaled by s it becomes `(s x) * sigmoid((s x) / s)`, where the division is one more
    multiplication by a constant, whose result is clipped to the interval in which a sigmoid is not flat.

    Args:
        content: a float file with ranges (`quantizer.collect_ranges`).
        activations: what `observe.observe` found in this file.
        balance: whether to weigh the error of the activations against that of the weights that read them, by the square root of
            both as in the paper; otherwise the activations alone are evened out.

    Returns:
        (a float file of the same outputs, number of channels with a new scale, tensor index -> range where it is known);
        (`content`, 0, {}) where there is nothing to gain.
    """
    model = flatbuffer.unpack(content)
    if len(model.subgraphs) != 1:
        return content, 0, {}
    found = channel_groups.group(model)
    scales = _choose(model, found, activations, balance)
    changed = int(((scales != 1) & np.isin(np.arange(len(scales)), np.concatenate([[0], *found.groups.values()]))).sum())
    if not changed:
        return content, 0, {}
    scale_of = {index: scales[groups] for index, groups in found.groups.items()}
    for operator in model.subgraphs[0].operators:
        _rescale(model, operator, scale_of)
    known = _insert_dividers(model, found.gates, scale_of, activations)
    return flatbuffer.pack(model), changed, known


def _choose(
    model: schema.ModelT, found: channel_groups.Channels, activations: Mapping[int, Activation], balance: bool
) -> npt.NDArray[np.float64]:
    """The scale of each group, (groups,): 1 for the widest channel of each tensor, more for the others."""
    scales = np.where(found.free, MAX_SCALE, 1.0)
    for index, groups in found.groups.items():
        if index not in activations:
            continue
        span = activations[index].span.astype(np.float64)
        whole = span.max(initial=0.0)
        if index in found.clipped:
            # A channel below 6, which the RELU6 does not change, must stay below 6; a channel that it clips keeps its scale.
            whole = min(whole, 6.0)
            span = np.where(span >= 6.0, whole, span)
        room = np.full(len(span), MAX_SCALE)
        np.divide(whole, HEADROOM * span, out=room, where=HEADROOM * span > whole / MAX_SCALE)
        np.minimum.at(scales, groups, np.maximum(room, 1.0))
    _limit_steps(model, found, activations, scales)
    if balance:
        _balance(model, found, scales)
    for _, tensor in found.gates:
        # The divider's constants 1 / s are int8 with one scale: only whole parts of 255 are exact there.
        groups = found.groups[tensor]
        scales[groups] = MAX_SCALE / np.ceil(MAX_SCALE / scales[groups] - 1e-9)
    return scales


def _limit_steps(
    model: schema.ModelT,
    found: channel_groups.Channels,
    activations: Mapping[int, Activation],
    scales: npt.NDArray[np.float64],
) -> None:
    """Bounds scales so that the kernels can bring sums to the output's step: by a factor below 256 in XNNPACK (TensorFlow 2.21).

    The factor is `d_x d_w / d_y` of input, weights and output, which scaled weights raise; 16 leaves room for narrower ranges.
    """
    for operator in model.subgraphs[0].operators:
        name, source, output = flatbuffer.op_name(model, operator), int(operator.inputs[0]), int(operator.outputs[0])
        if name not in channel_groups.WEIGHTED or output not in found.groups or not {source, output} <= set(activations):
            continue
        weights = flatbuffer.read_constant(model, _tensor(model, operator.inputs[1]))
        if weights is None:
            continue
        axis = channel_groups.output_axis(name) % weights.ndim
        magnitude = np.abs(weights).max(axis=tuple(set(range(weights.ndim)) - {axis})).astype(np.float64)
        given, wanted = activations[source].span.max(), activations[output].span.max()
        limit = 16 * 127 * wanted / np.maximum(given * magnitude, 1e-30)
        np.minimum.at(scales, found.groups[output], np.maximum(limit, 1.0))


def _balance(model: schema.ModelT, found: channel_groups.Channels, scales: npt.NDArray[np.float64]) -> None:
    """Lowers scales to the geometric mean of the gain of the activations and the loss that the weights after them can bear."""
    rooms = scales.copy()
    for operator in model.subgraphs[0].operators:
        name = flatbuffer.op_name(model, operator)
        groups = found.groups.get(int(operator.inputs[0])) if name in ("CONV_2D", "FULLY_CONNECTED") else None
        weights = flatbuffer.read_constant(model, _tensor(model, operator.inputs[1])) if groups is not None else None
        if groups is None or weights is None:
            continue
        magnitude = np.maximum(_input_magnitude(weights, len(groups)), 1e-30)
        borne = magnitude / magnitude[np.argmin(rooms[groups])]  # by how much they exceed those of the widest channel
        np.minimum.at(scales, groups, np.clip(np.sqrt(rooms[groups] * borne), 1.0, rooms[groups]))


def _input_magnitude(weights: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
    """The largest weight that reads each of `count` input channels, over all outputs."""
    largest = np.abs(weights).max(axis=tuple(range(weights.ndim - 1)))
    if weights.ndim == 2:
        return largest.reshape(-1, count).max(axis=0)
    if len(largest) == count:
        return largest
    groups = count // len(largest)
    return np.abs(weights).reshape(groups, -1, len(largest)).max(axis=1).ravel()


def _rescale(model: schema.ModelT, operator: schema.OperatorT, scale_of: Mapping[int, npt.NDArray[np.float64]]) -> None:
    """Divides the weights of an operation by the scales of its input, and multiplies weights and bias by those of its output."""
    name = flatbuffer.op_name(model, operator)
    source, output = int(operator.inputs[0]), int(operator.outputs[0])
    if name not in channel_groups.WEIGHTED or source not in scale_of or output not in scale_of:
        return
    weights = flatbuffer.read_constant(model, _tensor(model, operator.inputs[1]))
    if weights is None or ((scale_of[source] == 1).all() and (scale_of[output] == 1).all()):
        return
    axis = channel_groups.output_axis(name) % weights.ndim
    along = [1] * weights.ndim
    along[axis] = -1
    scaled = weights / channel_groups.input_scales(model, operator, scale_of[source]) * scale_of[output].reshape(along)
    replace_constant(model, operator, 1, scaled)
    if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
        bias = flatbuffer.read_constant(model, _tensor(model, operator.inputs[2]))
        if bias is not None:  # a computed one needs true values, and `group` gave it the scale 1
            replace_constant(model, operator, 2, bias * scale_of[output])


def replace_constant(model: schema.ModelT, operator: schema.OperatorT, place: int, values: npt.NDArray[np.floating]) -> None:
    """Gives an operation a constant of its own instead of one that it may share with others.

    Args:
        model: the file.
        operator: an operation of it.
        place: of the constant among the inputs of the operation.
        values: of the new constant.
    """
    name = _tensor(model, operator.inputs[place]).name
    operator.inputs = np.array(operator.inputs)  # arrays that were read from a file are read-only
    operator.inputs[place] = flatbuffer.add_tensor(model, name, values.shape, values.astype(np.float32))


def _insert_dividers(
    model: schema.ModelT,
    gates: Sequence[tuple[int, int]],
    scale_of: Mapping[int, npt.NDArray[np.float64]],
    activations: Mapping[int, Activation],
) -> dict[int, tuple[float, float]]:
    """Gives the sigmoid of each swish the true values of its input; returns the range of each new tensor by its index."""
    from ai_edge_litert import schema_py_generated as schema

    operators, known = list(model.subgraphs[0].operators), dict[int, tuple[float, float]]()
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    for place, source in reversed(gates):  # from the end, so that the places before keep their numbers
        scales = scale_of[source]
        if (scales == 1).all():
            continue
        tensor = _tensor(model, source)
        divider = schema.OperatorT()
        divider.opcodeIndex = codes.index(schema.BuiltinOperator.MUL)  # there is one: it makes the swish
        divider.builtinOptionsType, divider.builtinOptions = schema.BuiltinOptions.MulOptions, schema.MulOptionsT()
        constant = flatbuffer.add_tensor(model, tensor.name + b"/inverse_scales", scales.shape, (1 / scales).astype(np.float32))
        true = flatbuffer.add_tensor(model, tensor.name + b"/unscaled", tensor.shape)
        divider.inputs, divider.outputs = np.array([source, constant], np.int32), np.array([true], np.int32)
        gate = operators[place]
        gate.inputs = np.array([true], np.int32)
        operators.insert(place, divider)
        seen = activations[source]
        known[true] = max(float(seen.low.min()), -GATE_LIMIT), min(float(seen.high.max()), GATE_LIMIT)
    model.subgraphs[0].operators = operators
    return known


def _tensor(model: schema.ModelT, index: int) -> schema.TensorT:
    return model.subgraphs[0].tensors[int(index)]
