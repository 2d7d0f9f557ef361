"""`quantization_report()`: the tensors of a quantization-aware model that are rounded, and the reason why others stay float."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tfopt.keras_model.requirements import require_built
from tfopt.keras_model.walk import walk
from tfopt.keras_model.weights import Weight, walk_weights
from tfopt.quantization import weights
from tfopt.quantization.bake import quantization_layers
from tfopt.quantization.fake_quantize import FakeQuantize
from tfopt.quantization.wrapper import QuantizeWrapper
from tfopt.reporting.tables import Block, Summarized, Table
from tfopt.reporting.units import interval, plural

if TYPE_CHECKING:
    import keras

    from tfopt.quantization.fake_quantize import Range


LEFT_OUT = "left out by include or exclude"


@dataclasses.dataclass(frozen=True)
class Row:
    """One weight, or one tensor between layers or inside a layer.

    Attributes:
        name: such as `conv2d/kernel` or `conv2d_quantize`.
        bits: 4 or 8 for weights, 8 for activations; None if it stays float.
        grid: the axes along which the scales differ, in words.
        range: lowest and highest value of an activation; None for weights, and if no range is known.
        reason: why it stays float or has no range; empty otherwise.
    """

    name: str
    bits: int | None
    grid: str
    range: Range | None
    reason: str


@dataclasses.dataclass(frozen=True, repr=False)
class QuantizationReport(Summarized):
    """All weights and rounded tensors of a model; `print` shows them as a table.

    Attributes:
        weights, activations: a `Row` each.
    """

    weights: tuple[Row, ...]
    activations: tuple[Row, ...]

    @property
    def unseen(self) -> tuple[str, ...]:
        """Names of the tensors whose range no batch has set: the conversion needs representative data for them."""
        return tuple(row.name for row in self.activations if row.range is None)

    def __repr__(self) -> str:
        """Counts, in one line."""
        rounded = sum(row.bits is not None for row in self.weights)
        return (
            f"QuantizationReport({rounded} of {plural(len(self.weights), 'weight')} and {plural(len(self.activations), 'tensor')} "
            f"rounded, {len(self.unseen)} without a range)"
        )

    def _summary(self) -> list[Block]:
        shown = (*(row for row in self.weights if row.reason != weights.OF_RANK_1), *self.activations)
        rows = [(row.name, row.bits or "float", row.grid, interval(row.range), row.reason) for row in shown]
        return [Table(("tensor", "bits", "scales", "range", "note"), rows)]


def quantization_report(model: keras.Model) -> QuantizationReport:
    """Lists the tensors of a model that are rounded and those that are not.

    Example:

    ```python
    print(tfopt.quantization_report(qat))
    ```

    Args:
        model: a model that `quantize_aware` returned.

    Returns:
        A `QuantizationReport`.

    Raises:
        ArgumentError: `model` is not a Keras model, or not built.
    """
    require_built(model)
    wrappers = [layer for layer in quantization_layers(model) if isinstance(layer, QuantizeWrapper)]
    quantizers = [layer for layer in quantization_layers(model) if isinstance(layer, FakeQuantize)]
    rounded = {id(weight.variable): (grid, wrapper.weight_bits) for wrapper in wrappers for weight, grid in wrapper.grids()}
    ranges = {id(variable) for layer in quantizers for variable in layer.variables}
    listed = []
    for weight in walk_weights(model):
        if id(weight.variable) in ranges or "float" not in str(weight.variable.dtype):
            continue
        grid, bits = rounded.get(id(weight.variable), (_left_out(weight), None))
        if isinstance(grid, weights.Grid):
            listed.append(Row(weight.name, bits, str(grid), None, ""))
        else:
            listed.append(Row(weight.name, None, "", None, grid))
    return QuantizationReport(tuple(listed), tuple(_activations(model)))


def _activations(model: keras.Model) -> Iterator[Row]:
    for place in walk(model):
        if isinstance(place.layer, FakeQuantize):
            missing = "" if place.layer.range else "no batch has passed with values other than 0: train, or tfopt.calibrate"
            yield Row(place.path, place.layer.bits, "per tensor", place.layer.range, missing)


def _left_out(weight: Weight) -> str:
    if len(weight.variable.shape) < 2:
        return weights.OF_RANK_1
    return LEFT_OUT
