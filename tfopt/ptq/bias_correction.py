"""Correct biases for rounded weights, which shift the mean of each channel (Nagel et al., arXiv:1906.04721, sec. 4.2)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tfopt.ptq import channel_groups, equalize
from tfopt.ptq.observe import Activation
from tfopt.tflite import flatbuffer


def correct(content: bytes, activations: Mapping[int, Activation]) -> tuple[bytes, int]:
    """Corrects the biases of a float file for the weights that it will have in int8.

    A layer `W x + b` computes with `W' = round(W / d) d`, so that its outputs shift by `(W' - W) E[x]` on average. The means E[x]
    of the input channels are measured; places at a border, where padding takes part, count like all others.

    Args:
        content: a float file.
        activations: what `observe.observe` found in it.

    Returns:
        (a file with corrected biases, number of layers that were corrected).
    """
    model, count = flatbuffer.unpack(content), 0
    tensors = model.subgraphs[0].tensors
    for operator in model.subgraphs[0].operators:
        name = flatbuffer.op_name(model, operator)
        if name not in channel_groups.WEIGHTED or len(operator.inputs) < 3 or operator.inputs[2] < 0:
            continue
        weights, bias = (flatbuffer.read_constant(model, tensors[int(index)]) for index in operator.inputs[1:3])
        seen = activations.get(int(operator.inputs[0]))
        if weights is None or bias is None or seen is None:
            continue
        axis = channel_groups.output_axis(name) % weights.ndim
        error = round_weights(weights, axis) - weights
        shift = error * channel_groups.input_scales(model, operator, seen.mean)
        equalize.replace_constant(model, operator, 2, bias - shift.sum(axis=tuple(set(range(weights.ndim)) - {axis})))
        count += 1
    return (flatbuffer.pack(model), count) if count else (content, 0)


def round_weights(weights: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.floating]:
    """Weights as int8 holds them: `round(w / d) d`, with `d = max |w| / 127` for each channel along `axis`."""
    others = tuple(set(range(weights.ndim)) - {axis % weights.ndim})
    step = np.abs(weights).max(axis=others, keepdims=True) / 127
    step = np.where(step > 0, step, 1)
    return np.round(weights / step) * step
