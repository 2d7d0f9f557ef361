"""Causes of error where a scale is given and not chosen for the values: by the format, or by the largest of several units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from tfopt.checking.outputs.layout import shares_one_unit
from tfopt.keras_model.kinds import layer_kind

if TYPE_CHECKING:
    from tfopt.checking.layer_facts import Facts

# A layer that uses fewer levels, and whose SQNR is that low, errs because of them. With about one step nothing is left to use.
_FEW_LEVELS, _LOW, _NO_LEVELS = 16.0, 20.0, 2.0

# A feature whose standard deviation is fewer steps is left with less than 4 of the 8 bits.
_FEW_STEPS = 4.0

_MANY_VALUES, _MANY_SAMPLES = 100, 10


def fixed_range(facts: Facts) -> Iterator[tuple[float, str, str]]:
    """Yields (severity, layer, sentence) for layers, such as a softmax, whose values fill little of the range of their format."""
    for numbers in facts.numbers:
        tensor, (low, high) = facts.graph.tensors[numbers.index], numbers.float_range
        is_fixed = tensor.dtype == "int8" and shares_one_unit(facts.writer(numbers.index))
        if not is_fixed or facts.samples < _MANY_SAMPLES or numbers.size < _MANY_VALUES:
            continue
        levels = (high - low) / tensor.scale[0]
        if 0 < levels < _NO_LEVELS or (levels < _FEW_LEVELS and numbers.sqnr < _LOW):
            yield (
                1 / levels, numbers.name,
                f"its values reach from {low:.4g} to {high:.4g}, which are {levels:.1f} of the 256 levels of the fixed range of "
                f"{facts.writer(numbers.index)}",
            )  # fmt: skip


def mixed_units(facts: Facts) -> Iterator[tuple[float, str, str]]:
    """Yields (severity, layer, sentence) for an input whose features a Normalization brings to one unit only within the file."""
    inputs = [numbers for numbers in facts.numbers if numbers.class_name == "Input" and numbers.int8_range is not None]
    scaling = facts.model.scaling
    if len(inputs) != 1 or scaling is None or layer_kind(scaling) != "Normalization":
        return
    tensor = facts.graph.tensors[inputs[0].index]
    deviations = np.sqrt(np.asarray(scaling.variance, np.float64)).ravel()
    if tensor.dtype != "int8" or deviations.size < 2 or not deviations.max() > 0:
        return
    steps = np.where(deviations > 0, deviations / tensor.scale[0], np.inf)
    few = np.flatnonzero(steps < _FEW_STEPS)
    if few.size and few.size < deviations.size:
        worst = int(steps.argmin())
        yield (
            1 / steps[worst], inputs[0].name,
            f"the standard deviation of feature {worst} is {steps[worst]:.2g} steps of the one scale of the input, and the same "
            f"holds, with fewer than {_FEW_STEPS:g} steps, for {few.size} of {deviations.size} features that "
            f"{scaling.name} (Normalization) brings to one unit",
        )  # fmt: skip
