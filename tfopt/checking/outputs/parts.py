"""How far each part of an output is from the reference, added up batch by batch; the worst part is what a check tells."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tfopt.checking.outputs.layout import Layout, shares_one_unit

# More channels than these are the coordinates of a vector, such as an embedding, and not quantities each of its own.
_VECTOR = 16

# A coordinate that varies less than this share of the mean one has no weight in the vector: a class that never occurs, a unit that
# a ReLU has silenced.
_WEIGHT = 0.1

# Variations of fewer samples may be small by chance.
_MANY_SAMPLES = 10

# An evenly spread part on two values keeps 6 dB of its variation, and it spreads over less than two steps.
_TWO_VALUES, _TWO_STEPS = 6.0, 2**2 / 12

# Three of the eight bits.
_APART = 8.0

# An id that fewer values have says little about the ids. Of fewer than 10 values, all must be others.
_FEW_IDS, _MANY_IDS, _SHARE_OF_IDS, _MOST_KINDS = 5, 10, 0.01, 4096

# A top probability of fewer steps than these hardly differs from the next ones.
_FEW_STEPS, _TIED = 16, 0.01


@dataclasses.dataclass(frozen=True)
class PartNumbers:
    """One part of an output: a channel of its last axis, an input of the concatenation that makes it, or an id.

    Attributes:
        name: such as "channel 4", "part 2 of 2" or "id 7".
        variation_sqnr: the part's own variation about its mean to its own error, in dB; None for integers.
        agreement: share of values that are equal, in [0, 1], for integers; else None.
        lost: why the part says nothing any more; "" if it does.
    """

    name: str
    variation_sqnr: float | None
    agreement: float | None
    lost: str


class Parts:
    """The sums of each element of one output over all samples.

    Args:
        layout: of the output.
        step: the scale of the output in real units; 0.0 if it has none.
    """

    def __init__(self, layout: Layout, step: float) -> None:
        self.layout, self._step = layout, step
        self._rows = 0
        self._mean: npt.NDArray[np.float64] = np.zeros(())
        self._variation: npt.NDArray[np.float64] = np.zeros(())  # sum of squares about the mean
        self._noise: npt.NDArray[np.float64] = np.zeros(())
        self._peak: npt.NDArray[np.float64] = np.zeros(())
        self._same: npt.NDArray[np.int64] = np.zeros((), np.int64)
        self._ids: collections.Counter[float] = collections.Counter()
        self._same_ids: collections.Counter[float] = collections.Counter()
        self._tied = 0  # samples of which several classes are first in the file alone
        self._tops: list[float] = []  # the largest value of the reference for each sample

    @property
    def variation(self) -> float:
        """Sum over all elements of the squares about their means."""
        return float(self._variation.sum())

    def add(self, output: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64]) -> None:
        """Adds a batch of the output and its reference, which have the same shape."""
        found, values = np.atleast_1d(output), np.atleast_1d(wanted)
        # Chan, Golub and LeVeque's update of a sum of squares about the mean by a batch.
        total, own = self._rows + len(values), values.mean(axis=0)
        between = (own - self._mean) ** 2 * self._rows * len(values) / total
        self._variation = self._variation + ((values - own) ** 2).sum(axis=0) + between
        self._rows, self._mean = total, self._mean + (own - self._mean) * len(values) / total
        self._noise = self._noise + ((values - found) ** 2).sum(axis=0)
        self._peak = np.maximum(self._peak, np.abs(values).max(axis=0, initial=0.0))
        if self.layout.is_integer:
            self._add_integers(found, values)
        elif self.layout.writers == ("SOFTMAX",) and self.layout.is_8_bit and found.ndim == 2 and found.shape[1] > 1:
            ties = [(each == each.max(axis=1, keepdims=True)).sum(axis=1) > 1 for each in (found, values)]
            self._tied += int((ties[0] & ~ties[1]).sum())
            self._tops += values.max(axis=1).tolist()

    def _add_integers(self, found: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> None:
        same = found == values
        self._same = self._same + same.sum(axis=0)
        if len(self._ids) <= _MOST_KINDS:
            for counter, chosen in ((self._ids, values), (self._same_ids, values[same])):
                kinds, counts = np.unique(chosen, return_counts=True)
                counter.update(dict(zip(kinds.tolist(), counts.tolist(), strict=True)))

    def agreement(self) -> float | None:
        """Share of the integers of the output that are equal; None for another output."""
        return float(self._same.sum()) / (self._rows * self._same.size) if self.layout.is_integer and self._rows else None

    def worst(self) -> PartNumbers | None:
        """The part that is furthest off; None if the output has one part only, or for fewer than 10 samples."""
        if self._rows < _MANY_SAMPLES:
            return None
        parts = [*(self._integers() if self.layout.is_integer else self._numbers())]
        by_distance = sorted(parts, key=lambda part: (not part.lost, part.agreement or 0.0, part.variation_sqnr or 0.0))
        return by_distance[0] if by_distance else None

    def coarse_softmax(self) -> str:
        """Why the first class of a softmax in 8 bits says nothing; "" if it does."""
        tied = self._tied / len(self._tops) if self._tops else 0.0
        top = float(np.median(self._tops)) if self._tops else 0.0
        if tied < _TIED or top >= _FEW_STEPS * self._step:
            return ""
        return (
            f"a softmax of {self._mean.size:,} classes whose top probability is {top:.2g} in the median, while its 8 bits have "
            f"steps of {self._step:.2g}: in {100 * tied:.1f} % of the samples several classes share the first place"
        )

    def scales_apart(self) -> str:
        """Which parts need scales that differ 8-fold or more, though they share one of 8 bits; "" if none do."""
        if not self.layout.is_8_bit or self._rows < _MANY_SAMPLES:
            return ""
        peaks = sorted((peak, name) for name, peak in self._peaks() if peak > 0)
        if len(peaks) < 2 or peaks[-1][0] < _APART * peaks[0][0]:
            return ""
        (small, least), (large, most) = peaks[0], peaks[-1]
        return (
            f"{least} reaches {small:.3g} and {most} {large:.3g}, {large / small:.0f}x as far: the scale that they share leaves "
            f"about {256 * small / large:.1f} of 256 levels to {least}"
        )

    def _peaks(self) -> Iterator[tuple[str, float]]:
        count, varies = len(self.layout.writers), self._variation > 1e-12 * self._rows * self._peak**2
        for part in range(count):
            chosen = varies & self._is_in(part)
            if count > 1:
                yield self._name(part), float(self._peak[chosen].max(initial=0.0))
            elif self._is_of_quantities(part):
                for channel in range(self._channels()):
                    yield f"channel {channel}", float(self._peak[..., channel][chosen[..., channel]].max(initial=0.0))

    def _numbers(self) -> Iterator[PartNumbers]:
        count, channels = len(self.layout.writers), self._channels()
        floor = 1e-12 * self._rows * self._peak**2  # what rounding leaves of a constant
        for part in range(count):
            chosen = self._is_in(part) & (self._variation > floor)
            variation, noise = (np.where(chosen, each, 0.0) for each in (self._variation, self._noise))
            if count > 1 and variation.sum() > 0:
                yield self._judged(self._name(part), float(variation.sum()), float(noise.sum()), int(chosen.sum()))
            if channels == 1:
                continue
            by_channel = [each.reshape(-1, channels).sum(axis=0) for each in (variation, noise, chosen)]
            least = 0.0
            if not self._is_of_quantities(part) and variation.sum() > 0:
                least = _WEIGHT * float(by_channel[0][by_channel[0] > 0].mean())
            for channel, (own, error, size) in enumerate(zip(*by_channel, strict=True)):
                if own > 0 and own >= least:
                    yield self._judged(f"channel {channel}", float(own), float(error), int(size))

    def _judged(self, name: str, variation: float, noise: float, size: int) -> PartNumbers:
        level = math.inf if noise == 0 else 10 * math.log10(variation / noise) if math.isfinite(noise) else math.nan
        lost = ""
        if not level >= 0:
            lost = "its error exceeds its own variation"
        elif level < _TWO_VALUES and variation < _TWO_STEPS * self._step**2 * size * self._rows:
            lost = "it is left with about two values"
        return PartNumbers(name, level, None, lost)

    def _integers(self) -> Iterator[PartNumbers]:
        channels = self._channels()
        shares = {f"channel {channel}": share for channel, share in enumerate(self._channel_agreement())} if channels > 1 else {}
        least = max(_FEW_IDS, _SHARE_OF_IDS * self._ids.total())
        if 1 < len(self._ids) <= _MOST_KINDS:
            for kind, count in self._ids.items():
                if count >= least and (count >= _MANY_IDS or not self._same_ids[kind]):
                    shares[f"id {kind:g}"] = self._same_ids[kind] / count
        for name, share in shares.items():
            yield PartNumbers(name, None, share, "most of its values are others" if share < 0.5 else "")

    def _channel_agreement(self) -> list[float]:
        channels = self._channels()
        return (self._same.reshape(-1, channels).mean(axis=0) / self._rows).tolist() if channels <= _VECTOR else []

    def _channels(self) -> int:
        return self._noise.shape[-1] if self._noise.ndim else 1

    def _is_in(self, part: int) -> npt.NDArray[np.bool_]:
        labels = self.layout.labels
        return labels == part if labels.shape == self._noise.shape else np.full(self._noise.shape, part == 0)

    def _is_of_quantities(self, part: int) -> bool:
        """Whether the channels of a part are quantities each of its own, with a spread of its own."""
        width = int(self._is_in(part).reshape(-1, self._channels()).any(axis=0).sum())
        return 1 < width <= _VECTOR and not shares_one_unit(self.layout.writers[part])

    def _name(self, part: int) -> str:
        return f"part {part + 1} of {len(self.layout.writers)}"
