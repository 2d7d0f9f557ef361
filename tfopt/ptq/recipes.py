"""Make int8 files by recipes: which channels are equalized, where the ranges come from, whether biases are corrected."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tfopt.ptq import bias_correction, equalize, observe, quantizer
from tfopt.ptq.observe import Activation, Batches
from tfopt.ptq.range_choice import RANGES, Range, choose_ranges

if TYPE_CHECKING:
    import tensorflow as tf

EQUALIZED = {"their ranges": False, "their ranges and the weights that read them": True}
"""How channels are equalized -> whether against the weights that read them: `balance` of `equalize.equalize`."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How an int8 file is made.

    Attributes:
        equalized: a key of `EQUALIZED`, or "" where channels are left as they are.
        ranges: a key of `RANGES`.
        corrected: whether biases are corrected.
    """

    equalized: str
    ranges: str
    corrected: bool = False


@dataclasses.dataclass(frozen=True)
class _FloatFile:
    """A float file to be quantized.

    Attributes:
        content: the file.
        seen: tensor index -> what `observe.observe` found in it.
        known: tensor index -> range that is settled already.
        changed: number of channels with a new scale.
    """

    content: bytes
    seen: Mapping[int, Activation]
    known: Mapping[int, Range]
    changed: int


class Workshop:
    """Makes int8 files by recipes, from the ranges and means of some samples.

    Example:

    ```python
    workshop = Workshop(calibrated, batches, (tf.int8, tf.int8))
    content = workshop.make(Recipe("their ranges", "percentile 99.9"))
    ```

    Args:
        calibrated: the float file that `quantizer.collect_ranges` makes.
        batches: the samples.
        dtypes: of the (inputs, outputs) of the int8 files, as for `quantizer.quantize`.
    """

    def __init__(self, calibrated: bytes, batches: Batches, dtypes: tuple[tf.DType, tf.DType]) -> None:
        self._batches = batches
        self._dtypes, self._corrected = dtypes, 0
        self._sources = {"": _FloatFile(calibrated, observe.observe(calibrated, self._batches), {}, 0)}

    def gains(self, equalized: str) -> bool:
        """Whether a way to equalize, a key of `EQUALIZED`, changes anything."""
        return self._source(equalized).changed > 0

    def make(self, recipe: Recipe) -> bytes:
        """The int8 file of a recipe.

        Raises:
            ConversionError: the quantizer refuses the ranges.
        """
        source = self._source(recipe.equalized)
        if recipe.corrected:
            content, self._corrected = bias_correction.correct(source.content, source.seen)
            source = dataclasses.replace(source, content=content)
        content = choose_ranges(source.content, source.seen, RANGES[recipe.ranges], source.known)
        return quantizer.quantize(content, *self._dtypes)

    def tell(self, recipe: Recipe) -> str:
        """The steps of a recipe that was made, in words."""
        steps = [f"{recipe.ranges} ranges"]
        if recipe.equalized:
            source = self._source(recipe.equalized)
            added = f" ({len(source.known)} multiplications added before sigmoids)" if source.known else ""
            steps.append(f"{source.changed} channels equalized by {recipe.equalized}{added}")
        if recipe.corrected:
            steps.append(f"{self._corrected} biases corrected")
        return ", ".join(steps)

    def _source(self, equalized: str) -> _FloatFile:
        if equalized not in self._sources:
            plain = self._sources[""]
            content, changed, known = equalize.equalize(plain.content, plain.seen, balance=EQUALIZED[equalized])
            seen = observe.observe(content, self._batches) if changed else plain.seen
            self._sources[equalized] = _FloatFile(content, seen, known, changed)
        return self._sources[equalized]
