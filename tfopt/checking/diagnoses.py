"""Known causes of a large quantization error: how each shows, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfopt.checking.layer_facts import Cause, Facts, Kind
from tfopt.checking.outputs.given_scales import fixed_range, mixed_units
from tfopt.data.scaling_notes import SCALING_FACTOR, scaling_notes
from tfopt.keras_model.describe import describe
from tfopt.tflite.operations import FIXED_SCALE, SAME_SCALE

if TYPE_CHECKING:
    from tfopt.tflite.flatbuffer import Graph

Hit = tuple[float, str, str]
"""(severity, layer, sentence with figures): a place where a cause was found. The largest severity is reported first."""

# A few hundred samples miss a few values in 10,000. If one in 100 is cut off, the file was calibrated on other data.
_CLIPPED = 0.01

# The extremes of two samples of the same data differ too, but not by a quarter of the range if one value in 100 is beyond it.
_BEYOND = 0.25

# A quarter of the levels costs two of the eight bits, which is 12 dB.
_FEW_LEVELS = 0.25

# Fewer values, or values of fewer samples, say little about a range.
_MANY_VALUES, _MANY_SAMPLES = 100, 10

# Four of the eight bits: a channel that peaks at a sixteenth of the range is left with 16 of the 256 levels.
_RATIO = 16.0

# With fewer steps than this, the curve of the tail is a stair.
_TAIL_LEVELS = 3.0

# If a smaller share of the values is negative, the tail has no weight.
_TAIL_SHARE = 0.1

# What 8 bits hold of a tensor that uses its range.
_EIGHT_BITS = 48.0

# A layer below is further off than a check allows by default.
_GOOD = 20.0

# Two of the eight bits, lost in one layer, are not its roundings alone.
_FALL = 12.0

_TAILED = ("silu", "swish", "gelu", "hard_silu", "hard_swish", "mish")

# Operations that do not choose the range of their output: the format does, or a range that was wrong before is passed on.
_RANGE_IS_GIVEN = FIXED_SCALE | SAME_SCALE


def find(facts: Facts) -> tuple[Cause, ...]:
    """Looks for every known cause; returns at most one of a kind."""
    found: list[Cause] = []
    for kind, (detect, remedy) in CAUSES.items():
        # Wrongly scaled inputs make every other range wrong as well, and no layer is to blame for a wrong range.
        known = {cause.kind for cause in found}
        if kind in ("calibration-narrow", "calibration-wide") and "calibration-scaling" in known:
            continue
        if kind == "lossy-layer" and any(each.startswith("calibration") for each in known):
            continue
        hits = sorted(detect(facts), key=lambda hit: -hit[0])
        if hits:
            _, layer, what = hits[0]
            others = dict.fromkeys(name for _, name, _ in hits[1:] if name and name != layer)
            found.append(Cause(kind, layer, what, remedy, tuple(others)))
    return tuple(found)


def _calibration_scaling(facts: Facts) -> Iterator[Hit]:
    for numbers in facts.numbers:
        if numbers.class_name != "Input" or numbers.int8_range is None:
            continue
        peak, seen = _peak(numbers.int8_range), _peak(numbers.float_range)
        where = f"the calibration data of input {numbers.name!r} reached from {_text(numbers.int8_range)}"
        if seen >= SCALING_FACTOR * peak or (0 < seen <= peak / SCALING_FACTOR and numbers.size >= _MANY_VALUES):
            begins = f", and the model begins with {describe(facts.model.scaling)}" if facts.model.scaling is not None else ""
            factor = max(seen / peak, peak / seen)
            yield (
                factor,
                numbers.name,
                f"{where}, the given data reach from {_text(numbers.float_range)}: {factor:.0f}x off{begins}",
            )
            continue
        shape = facts.graph.tensors[numbers.index].shape[1:]
        ends = np.stack([np.full(shape, end, "float32") for end in numbers.int8_range])
        for note in scaling_notes(facts.model.scaling, {numbers.name: ends}):
            yield 1.0, numbers.name, note.replace("the representative data lie", "the calibration data lay")


def _calibration_narrow(facts: Facts) -> Iterator[Hit]:
    for place, numbers in enumerate(facts.numbers):
        if numbers.int8_range is None or not numbers.clipped or numbers.clipped <= _CLIPPED:
            continue
        (low, high), (needed_low, needed_high) = numbers.int8_range, numbers.float_range
        if max(low - needed_low, needed_high - high) > _BEYOND * (high - low):
            ranges = f"the file holds {_text(numbers.int8_range)}, the given data need {_text(numbers.float_range)}"
            # The first layer in the order of computation comes first: the others may follow from it.
            yield -place, numbers.name, f"{100 * numbers.clipped:.1f} % of its values are cut off: {ranges}"


def _calibration_wide(facts: Facts) -> Iterator[Hit]:
    if facts.samples < _MANY_SAMPLES:
        return
    sharing = set(_sharing_scales(facts.graph))
    for place, numbers in enumerate(facts.numbers):
        if numbers.int8_range is None or numbers.size < _MANY_VALUES or numbers.index in sharing:
            continue
        low, high = numbers.float_range
        used = (high - low) / (numbers.int8_range[1] - numbers.int8_range[0])
        if 0 < used < _FEW_LEVELS and facts.writer(numbers.index) not in _RANGE_IS_GIVEN:
            ranges = f"the file holds {_text(numbers.int8_range)}, the given data need {_text(numbers.float_range)}"
            yield -place, numbers.name, f"only {100 * used:.1f} % of its range is used: {ranges}"


def _sharing_scales(graph: Graph) -> Iterator[int]:
    """Tensors to which an op with several inputs, such as CONCATENATION, gives the range of its output."""
    for operator in graph.operators:
        inputs = [index for index in operator.inputs if graph.tensors[index].role != "weight"]
        if len(inputs) > 1:
            output = graph.tensors[operator.outputs[0]].scale
            yield from (index for index in inputs if output and graph.tensors[index].scale == output)


def _outlier_channel(facts: Facts) -> Iterator[Hit]:
    for numbers in facts.numbers:
        if numbers.int8_range is None or facts.writer(numbers.index) in _RANGE_IS_GIVEN:
            continue
        if numbers.outlier_ratio and numbers.outlier_ratio >= _RATIO:
            levels = 256 / numbers.outlier_ratio
            yield (
                numbers.outlier_ratio, numbers.name,
                f"channel {numbers.outlier_channel} reaches {numbers.outlier_ratio:.0f}x as far as the median channel, to which "
                f"the one scale of the tensor leaves about {levels:.1f} of 256 levels",
            )  # fmt: skip


def _concat_ranges(facts: Facts) -> Iterator[Hit]:
    for operator in facts.graph.operators:
        if operator.name != "CONCATENATION" or not facts.graph.tensors[operator.outputs[0]].scale:
            continue
        peaks = sorted(_peak(facts.ranges[index]) for index in set(operator.inputs) if index in facts.ranges)
        peaks = [peak for peak in peaks if peak > 0]
        if len(peaks) > 1 and peaks[-1] >= _RATIO * peaks[0]:
            layer = next(iter(facts.mention(facts.graph.tensors[operator.outputs[0]].name)), "")
            what = f"its inputs peak at {peaks[0]:.4g} and {peaks[-1]:.4g}, {peaks[-1] / peaks[0]:.0f}x apart, and share one scale"
            yield peaks[-1] / peaks[0], layer, what


def _activation_tail(facts: Facts) -> Iterator[Hit]:
    tailed = set(_tailed_tensors(facts.graph))
    for numbers in facts.numbers:
        if numbers.int8_range is None or numbers.negative < _TAIL_SHARE:
            continue
        if numbers.index in tailed or facts.model.activations.get(numbers.name) in _TAILED:
            levels = -numbers.float_range[0] / facts.graph.tensors[numbers.index].scale[0]
            if levels < _TAIL_LEVELS:
                yield (
                    1 / levels, numbers.name,
                    f"{100 * numbers.negative:.0f} % of its values are negative, no lower than {numbers.float_range[0]:.3g}, and "
                    f"lie on {levels:.1f} levels, as the range reaches to {numbers.int8_range[1]:.4g}",
                )  # fmt: skip


def _tailed_tensors(graph: Graph) -> Iterator[int]:
    """Outputs of swish and GELU, which the converter may have written as LOGISTIC and MUL."""
    gates = {operator.outputs[0]: operator.inputs[0] for operator in graph.operators if operator.name == "LOGISTIC"}
    for operator in graph.operators:
        swish = operator.name == "MUL" and any(gates.get(index) in operator.inputs for index in operator.inputs)
        if swish or operator.name in ("GELU", "HARD_SWISH"):
            yield operator.outputs[0]


def _unfolded_batchnorm(facts: Facts) -> Iterator[Hit]:
    ops: dict[str, list[str]] = {}
    for operator in facts.graph.operators:
        if operator.name not in ("MUL", "ADD", "SUB"):
            continue
        output = facts.graph.tensors[operator.outputs[0]]
        constants = [facts.graph.tensors[index] for index in operator.inputs if facts.graph.tensors[index].role == "weight"]
        if any(output.shape and constant.shape[-1:] == output.shape[-1:] for constant in constants):
            # The name of an ADD that is fused with a ReLU begins with the ReLU layer.
            names = [name for tensor in (output, *constants) for name in facts.mention(tensor.name)]
            layer = next((name for name in names if facts.model.classes.get(name) == "BatchNormalization"), None)
            if layer is not None:
                ops.setdefault(layer, []).append(operator.name)
    for layer, names in ops.items():
        yield len(names), layer, f"it runs as {' and '.join(names)}, each rounded to int8, instead of within a convolution or Dense"


def _float_island(facts: Facts) -> Iterator[Hit]:
    computing = [op for op in facts.float_ops if op.op not in ("QUANTIZE", "DEQUANTIZE")]
    conversions = len(facts.float_ops) - len(computing)
    ops: dict[str, list[str]] = {}
    for op in computing or facts.float_ops:  # the conversions around an op carry its neighbours' names
        ops.setdefault(op.layer, []).append(op.op)
    for layer, names in ops.items():
        what = (
            f"{', '.join(dict.fromkeys(names))} in float within an integer model, with {conversions} conversions from and to int8"
        )
        yield sum(name not in SAME_SCALE for name in names), layer, what


def _lossy_layer(facts: Facts) -> Iterator[Hit]:
    lowest = _EIGHT_BITS
    for numbers in facts.numbers:
        if math.isfinite(numbers.sqnr):
            if lowest - numbers.sqnr >= _FALL and numbers.sqnr < _GOOD and numbers.class_name != "Input":
                what = f"its SQNR is {numbers.sqnr:.1f} dB, and before it no layer had less than {lowest:.1f} dB"
                yield lowest - numbers.sqnr, numbers.name, what
            lowest = min(lowest, numbers.sqnr)


CAUSES: dict[Kind, tuple[Callable[[Facts], Iterator[Hit]], str]] = {
    "calibration-scaling": (
        _calibration_scaling,
        "Prepare the representative data exactly as the validation data, scaled once, and not at all if the model scales them.",
    ),
    "calibration-narrow": (
        _calibration_narrow,
        "Convert again with representative data that cover the validation data: more samples, of every kind that occurs.",
    ),
    "calibration-wide": (
        _calibration_wide,
        "Convert again with representative data like the validation data, without rare extremes, which stretch every range.",
    ),
    "outlier-channel": (
        _outlier_channel,
        "Limit the activation in training (ReLU6, weight decay), scale the channel into the next layer's weights, or use int16x8.",
    ),
    "concat-ranges": (
        _concat_ranges,
        "Bring the inputs to one range: by a BatchNormalization before each, or scale one and undo it in the next layer's weights.",
    ),
    "activation-tail": (
        _activation_tail,
        "Limit the input of the activation (weight decay, clipping), train quantization-aware, or use int16x8.",
    ),
    "unfolded-batchnorm": (
        _unfolded_batchnorm,
        "Put BatchNormalization right after a convolution or Dense layer without activation, where it is folded into the weights.",
    ),
    "fixed-range": (
        fixed_range,
        "Leave the last softmax or sigmoid out with logits=True (--logits), or use int16x8 if it lies within the model.",
    ),
    "mixed-units": (
        mixed_units,
        "Cut the Normalization off with tfopt.split(model, at=(its name, None)), and compute it before the file.",
    ),
    "float-island": (
        _float_island,
        "Replace the layer by operations that have int8 kernels, or move it to the start or end of the model and then out of it.",
    ),
    "lossy-layer": (
        _lossy_layer,
        "Keep it in float with allow_float=True (--allow-float), or cut it off with tfopt.split and compute it around the file.",
    ),
}
"""(detector, remedy) by kind."""


def _peak(limits: Sequence[float]) -> float:
    return max(abs(limit) for limit in limits)


def _text(limits: Sequence[float]) -> str:
    return f"{limits[0]:.4g} to {limits[1]:.4g}"
