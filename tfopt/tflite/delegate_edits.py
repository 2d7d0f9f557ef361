"""Edits of a TFLite file that replace int8 operations which the CPU delegate refuses, or has slow kernels for.

Each edit is one small function in `EDITS`; it takes an `Editor` and returns how many places it changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tfopt.tflite.editor import Editor, is_constant, text

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

_INT32, _INT8 = 2, 9  # TensorType of the schema
_MOST_TAPS = 25  # values of a window that the delegate's depthwise kernels read in one pass
_BLOCKS = range(8, 17)  # channels that its matrix products take at a time
_LEAST_PLACES = 32  # of the output, for which the time that a wide window saves is worth the larger file


def fused_relu(editor: Editor) -> int:
    """Replaces a RELU of its own by a product with exactly 1 and a fused RELU, which the CPU delegate takes."""
    count = 0
    for place, operator in enumerate(editor.graph.operators):
        if editor.name(operator) not in ("RELU", "RELU6") or editor.tensor(operator.inputs[0]).type != _INT8:
            continue
        shape = [1] * len(editor.tensor(operator.inputs[0]).shape)
        one = editor.add_tensor(
            f"{text(editor.tensor(operator.outputs[0]).name)}/one", shape, _INT8, data=np.full(shape, 127, np.int8)
        )
        editor.tensor(one).quantization = editor.quantization([1 / 127], [0])
        activation = getattr(editor.schema.ActivationFunctionType, editor.name(operator))
        editor.graph.operators[place] = editor.operator(
            "MUL", [operator.inputs[0], one], operator.outputs, version=2, fusedActivationFunction=activation
        )
        count += 1
    return count


def average_pool(editor: Editor) -> int:
    """Replaces an average over a window by a depthwise convolution with equal weights, which the CPU delegate takes.

    With padding the windows at the border hold fewer values: `average = convolution * window / values`, if int8 can hold these
    ratios exactly, as for windows of 2 x 2 and 3 x 3.
    """
    operators: list[schema.OperatorT] = []
    count = 0
    for operator in editor.graph.operators:
        added = list(_convolution(editor, operator)) if editor.name(operator) == "AVERAGE_POOL_2D" else []
        operators += added or [operator]
        count += bool(added)
    editor.graph.operators = operators
    return count


def _convolution(editor: Editor, operator: schema.OperatorT) -> Iterator[schema.OperatorT]:
    """The operations in place of an average; none if it is left as it is."""
    source, result = editor.tensor(operator.inputs[0]), editor.tensor(operator.outputs[0])
    options, channels = operator.builtinOptions, int(source.shape[3])
    area, strides = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)
    affine = editor.affine(operator.inputs[0])
    if source.type != _INT8 or not affine or area == tuple(source.shape[1:3]):
        return
    ratios = _ratios(area, strides, source.shape[1:3], result.shape[1:3], options.padding == editor.schema.Padding.VALID)
    if ratios is None:
        return
    name, output = text(result.name), operator.outputs[0]
    weights = editor.add_tensor(f"{name}/weights", (1, *area, channels), _INT8, data=np.full((1, *area, channels), 127, np.int8))
    scale = 1 / (127 * area[0] * area[1])
    editor.tensor(weights).quantization = editor.quantization([scale] * channels, [0] * channels, axis=3)
    bias = editor.add_tensor(f"{name}/bias", (channels,), _INT32, data=np.zeros(channels, np.int32))
    scales = [affine[0] * scale] * channels
    editor.tensor(bias).quantization = editor.quantization(scales, [0] * channels)
    if len(ratios):
        output = editor.add_tensor(f"{name}/sum", result.shape, _INT8, like=result)
    yield editor.operator(
        "DEPTHWISE_CONV_2D", [operator.inputs[0], weights, bias], [output], version=3, padding=options.padding,
        strideH=strides[0], strideW=strides[1], depthMultiplier=1, dilationHFactor=1, dilationWFactor=1,
        fusedActivationFunction=options.fusedActivationFunction,
    )  # fmt: skip
    if len(ratios):
        border = editor.add_tensor(f"{name}/border", ratios.shape, _INT8, data=np.round(ratios * 4).astype(np.int8))
        editor.tensor(border).quantization = editor.quantization([0.25], [0])
        yield editor.operator("MUL", [output, border], operator.outputs, version=2)


def _ratios(
    area: tuple[int, int], strides: tuple[int, int], sizes: Sequence[int], outputs: Sequence[int], is_valid: bool
) -> npt.NDArray[np.float64] | None:
    """window / values in it, (1, rows, columns, 1); empty without padding, None if not multiples of 1/4 below 32."""
    if is_valid:
        return np.zeros(0)
    along = []
    for window, stride, size, count in zip(area, strides, sizes, outputs, strict=True):
        start = np.arange(count) * stride - max((count - 1) * stride + window - size, 0) // 2
        along.append(window / (np.minimum(start + window, size) - np.maximum(start, 0)))
    ratios = along[0][None, :, None, None] * along[1][None, None, :, None]
    exact = np.all(ratios * 4 == np.round(ratios * 4)) and ratios.max() < 32
    return ratios if exact else None


def hard_swish(editor: Editor) -> int:
    """Replaces HARD_SWISH by `(x / 6) * relu6(x + 3)`, which the CPU delegate takes (arXiv:1905.02244)."""
    operators: list[schema.OperatorT] = []
    count = 0
    for operator in editor.graph.operators:
        source = editor.tensor(operator.inputs[0])
        affine = editor.affine(operator.inputs[0])
        if editor.name(operator) != "HARD_SWISH" or source.type != _INT8 or not affine:
            operators.append(operator)
            continue
        count += 1
        name, shape = text(editor.tensor(operator.outputs[0]).name), [1] * len(source.shape)
        numbers = []
        for label, value in (("sixth", 1 / 6), ("three", 3.0)):
            numbers.append(editor.add_tensor(f"{name}/{label}", shape, _INT8, data=np.full(shape, 127, np.int8)))
            editor.tensor(numbers[-1]).quantization = editor.quantization([value / 127], [0])
        sixth, gate = (editor.add_tensor(f"{name}/{label}", source.shape, _INT8) for label in ("x_6", "relu6"))
        editor.tensor(sixth).quantization = editor.quantization([affine[0] / 6], [affine[1]])
        editor.tensor(gate).quantization = editor.quantization([6 / 255], [-128])
        relu6 = editor.schema.ActivationFunctionType.RELU6
        operators += [
            editor.operator("MUL", [operator.inputs[0], numbers[0]], [sixth], version=2),
            editor.operator("ADD", [operator.inputs[0], numbers[1]], [gate], version=2, fusedActivationFunction=relu6),
            editor.operator("MUL", [sixth, gate], operator.outputs, version=2),
        ]
    editor.graph.operators = operators
    return count


def depthwise_blocks(editor: Editor) -> int:
    """Replaces a depthwise convolution over a wide window by one over blocks of 8 to 16 channels, with zeros between channels.

    The delegate reads windows of more than 25 values in several passes and is slower than in float; it computes a convolution in
    groups as a matrix product, in which 7 of 8 factors are 0. The output integers are the same. The weights take 8 times as much
    room, or up to 16 times where the number of channels is no multiple of 8.
    """
    count = 0
    for place, operator in enumerate(editor.graph.operators):
        weights = _depthwise_weights(editor, operator)
        if weights is None or weights[0].size <= _MOST_TAPS:
            continue
        if np.prod(editor.tensor(operator.outputs[0]).shape[1:3]) < _LEAST_PLACES:
            continue
        block = next((size for size in _BLOCKS if len(weights) % size == 0), None)
        if block is None:
            continue
        channels = np.arange(len(weights))
        blocks = np.zeros((*weights.shape, block), np.int8)
        blocks[channels, :, :, channels % block] = weights
        old, options = editor.tensor(operator.inputs[1]), operator.builtinOptions
        made = editor.add_tensor(f"{text(old.name)}/blocks", blocks.shape, _INT8, data=blocks)
        editor.tensor(made).quantization = editor.quantization(
            np.broadcast_to(old.quantization.scale, channels.shape), np.zeros_like(channels)
        )
        kept = ("padding", "strideH", "strideW", "dilationHFactor", "dilationWFactor", "fusedActivationFunction")
        editor.graph.operators[place] = editor.operator(
            "CONV_2D", [operator.inputs[0], made, *operator.inputs[2:]], operator.outputs, version=3,
            **{name: getattr(options, name) for name in kept},
        )  # fmt: skip
        count += 1
    return count


def _depthwise_weights(editor: Editor, operator: schema.OperatorT) -> npt.NDArray[np.int8] | None:
    """(channels, height, width); None if the operation does not convolve each channel by itself, once."""
    name = editor.name(operator)
    if name not in ("CONV_2D", "DEPTHWISE_CONV_2D") or editor.tensor(operator.inputs[0]).type != _INT8:
        return None
    weights, channels = editor.tensor(operator.inputs[1]), int(editor.tensor(operator.inputs[0]).shape[3])
    shape = tuple(int(size) for size in weights.shape)
    if weights.type != _INT8 or not is_constant(editor, weights):
        return None
    array = np.frombuffer(bytes(editor.model.buffers[weights.buffer].data), np.int8).reshape(shape)
    if name == "CONV_2D":  # in as many groups as there are channels
        return array[..., 0] if (shape[0], shape[3]) == (channels, 1) and channels > 1 else None
    return array[0].transpose(2, 0, 1) if shape[3] == channels else None


EDITS: dict[str, Callable[[Editor], int]] = {
    "fused_relu": fused_relu,
    "average_pool": average_pool,
    "hard_swish": hard_swish,
    "depthwise_blocks": depthwise_blocks,
}
