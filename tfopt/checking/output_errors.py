"""How far the outputs of a TFLite file are from the outputs of its reference, added up batch by batch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfopt.checking.outputs.layout import layout
from tfopt.checking.outputs.parts import PartNumbers, Parts
from tfopt.checking.settings import CheckSettings
from tfopt.errors import DataError
from tfopt.tflite import op_audit

if TYPE_CHECKING:
    from tfopt.checking.reference import Batch, Reference
    from tfopt.lowering.quantization_aware import ErrorLimit
    from tfopt.tflite.interpreter import Interpreter

_HALF_STEPS = 512  # an int8 output has no larger error


@dataclasses.dataclass(frozen=True)
class OutputNumbers:
    """One output `y` of the file against the same output `r` of the reference.

    Attributes:
        name: of the output.
        sqnr: signal to quantization noise in dB, `10 log10(sum r^2 / sum (r - y)^2)`; infinite if the outputs are equal. None for
            an output of integers such as ids and masks, whose distances mean nothing.
        variation_sqnr: the same in dB with the variation of the signal about its mean, `sum (r - mean r)^2`, instead of the signal:
            an output with a large constant part has a high SQNR even if noise drowns the part that changes. None if all samples
            are alike, and for integers.
        cosine: `r.y / (|r| |y|)`, in [-1, 1]; None for integers.
        max_error, mean_error: of `|r - y|`, in the output's own unit.
        max_error_lsb, mean_error_lsb: the same in steps of the output's scale; None if the output has no scale.
        most_error_lsb: an error in steps, to half a step, that 99.9 % of the output's values do not exceed.
        agreement: share of samples with the same argmax, in [0, 1]; None if the output is not a row of classes. For integers it is
            the share of values that are equal.
        worst_part: the channel of the last axis, part of a concatenation, or id that is furthest off, each measured against its own
            variation; None if the output has one part only, or for fewer than 10 samples.
    """

    name: str
    sqnr: float | None
    variation_sqnr: float | None
    cosine: float | None
    max_error: float
    mean_error: float
    max_error_lsb: float | None
    mean_error_lsb: float | None
    most_error_lsb: float | None
    agreement: float | None
    worst_part: PartNumbers | None = None


class _OutputTally:
    """The sums of one output `y` and its reference `r` over all samples.

    Args:
        name: of the output.
        scale: of the output, in real units; 0.0 if it has none.
        parts: the sums of its elements.
    """

    def __init__(self, name: str, scale: float, parts: Parts) -> None:
        self.name, self.parts = name, parts
        self._scale = scale
        self._signal = self._power = self._product = self._noise = 0.0  # of r^2, y^2, r y and (r - y)^2
        self._error = self._max_error = 0.0
        self._steps = np.zeros(_HALF_STEPS + 1, np.int64)  # how many errors round to 0, 1/2, 1, ... steps
        self._size = 0
        self._same: int | None = None

    def add(self, output: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64]) -> None:
        """Adds a batch of `y` and `r`, which have the same shape."""
        error = np.abs(wanted - output)
        self._signal += float((wanted**2).sum())
        self._power += float((output**2).sum())
        self._product += float((wanted * output).sum())
        self._noise += float((error**2).sum())
        self._error += float(error.sum())
        self._max_error = float(np.maximum(self._max_error, error.max(initial=0.0)))  # Python's max() may drop a NaN
        self._size += error.size
        if self._scale:
            steps = np.nan_to_num(np.round(2 * error / self._scale), nan=_HALF_STEPS).clip(0, _HALF_STEPS).astype(int)
            self._steps += np.bincount(steps.ravel(), minlength=_HALF_STEPS + 1)
        self.parts.add(output, wanted)
        if output.ndim == 2 and output.shape[1] > 1:
            self._same = (self._same or 0) + int((output.argmax(1) == wanted.argmax(1)).sum())

    def numbers(self, samples: int) -> OutputNumbers:
        """The errors over all `samples`."""
        scale, mean = self._scale, self._error / self._size
        norms, variation = math.sqrt(self._signal * self._power), self.parts.variation
        is_integer = self.parts.layout.is_integer
        # Samples that are all alike, but for rounding, have no variation to compare with.
        varied = None if is_integer or variation <= 1e-12 * self._signal else decibel(variation, self._noise)
        return OutputNumbers(
            name=self.name,
            sqnr=None if is_integer else decibel(self._signal, self._noise),
            variation_sqnr=varied,
            cosine=None if is_integer else self._product / norms if norms else float(self._noise == 0),
            max_error=self._max_error,
            mean_error=mean,
            max_error_lsb=self._max_error / scale if scale else None,
            mean_error_lsb=mean / scale if scale else None,
            most_error_lsb=int(np.searchsorted(np.cumsum(self._steps), 0.999 * self._steps.sum())) / 2 if scale else None,
            agreement=self.parts.agreement() if is_integer else None if self._same is None else self._same / samples,
            worst_part=self.parts.worst(),
        )


class Tally:
    """Adds up the errors and the right classes of one pass over the data, so that no output is kept.

    Args:
        interpreter: runs the file.
        compared: whether there is a reference.

    Attributes:
        count: number of samples so far.
    """

    def __init__(self, interpreter: Interpreter, compared: bool) -> None:
        self._interpreter, self._compared = interpreter, compared
        graph, indices = interpreter.graph, interpreter.output_indices
        ends = zip(interpreter.output_names, op_audit.output_scales(graph, indices), indices, strict=True)
        self._outputs = [_OutputTally(name, scale, Parts(layout(graph, index), scale)) for name, scale, index in ends]
        self._in_unit = True  # whether a single value looks like a probability, deciding at 0.5, or like a logit, at 0
        self._not_finite: set[tuple[str, int]] = set()
        self._right = {"file": np.zeros(2, int), "reference": np.zeros(2, int)}  # at the thresholds 0 and 0.5
        self._labelled, self._ungraded = 0, 0
        self.count = 0

    def add(self, arrays: Batch, reference: Reference | None, labels: Sequence[Any]) -> None:
        """Runs the file and the reference on one batch.

        Args:
            arrays: array (batch size, ...) by input of the file.
            reference: None, or the function whose outputs are right.
            labels: one for each sample of the batch, None if it has none; rows beyond them only fill up the batch.
        """
        outputs = self._interpreter.run(arrays)
        rows = len(labels)
        expected = reference(arrays) if reference else [None] * len(outputs)
        if len(expected) != len(outputs):
            raise DataError(f"The reference must have as many outputs as the file, {len(outputs)}. Received: {len(expected)}.")
        for index, (output, wanted) in enumerate(zip(outputs, expected, strict=True)):
            found = self._samples_of(output, rows).astype(np.float64)
            if not np.isfinite(found).all():
                self._not_finite.add(("the file", index))
            if wanted is not None:
                self._compare(index, found, self._samples_of(np.asarray(wanted), rows).astype(np.float64))
        first = None if expected[0] is None else self._samples_of(np.asarray(expected[0]), rows)
        self._grade(self._samples_of(outputs[0], rows), first, labels)
        self.count += rows

    def _samples_of(self, output: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
        """Without the rows that only fill up the last batch; an output that has no row for each sample stays whole."""
        return output[:count] if output.ndim and len(output) == self._interpreter.batch_size else output

    def _compare(self, index: int, output: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64]) -> None:
        if output.shape != wanted.shape:
            raise DataError(f"Output {index} of the reference must have the shape {output.shape}. Received: {wanted.shape}.")
        if not np.isfinite(wanted).all():
            self._not_finite.add(("the reference", index))
        self._outputs[index].add(output, wanted)

    def _grade(self, output: npt.NDArray[Any], wanted: npt.NDArray[Any] | None, labels: Sequence[Any]) -> None:
        if any(label is None for label in labels):
            return
        classes = _class_ids(np.stack([np.asarray(label) for label in labels]), output)
        if classes is None:
            self._ungraded += len(labels)
            return
        self._labelled += len(labels)
        for who, values in (("file", output), ("reference", wanted)):
            if values is not None:
                chosen = [values.argmax(1)] * 2 if values.shape[1] > 1 else [values[:, 0] > threshold for threshold in (0.0, 0.5)]
                self._right[who] += [int((choice == classes).sum()) for choice in chosen]
        decisive = output if wanted is None else wanted
        self._in_unit = self._in_unit and bool(decisive.min() >= 0 and decisive.max() <= 1)

    def accuracy(self, of_reference: bool = False) -> float | None:
        """The share of samples of the right class, in [0, 1]; None if not all samples have labels of classes."""
        if not self._labelled or self._ungraded:
            return None
        return float(self._right["reference" if of_reference else "file"][int(self._in_unit)] / self._labelled)

    def numbers(self) -> tuple[OutputNumbers, ...]:
        """The error of each output, in the file's order; empty without a reference or samples."""
        return tuple(output.numbers(self.count) for output in self._outputs) if self._compared and self.count else ()

    def reasons(
        self, outputs: Sequence[OutputNumbers], settings: CheckSettings, error_limit: ErrorLimit | None = None
    ) -> Iterator[str]:
        """Yields why the file fails, if it does.

        Args:
            outputs: the result of `numbers`.
            settings: the limits.
            error_limit: how far an output may be from a reference that is quantization-aware.
        """
        for who, index in sorted(self._not_finite):
            yield f"output {self._outputs[index].name!r} of {who} is NaN or infinite on some samples"
        least = settings.min_sqnr
        for output in outputs:
            if output.sqnr is None:
                yield from _integer_reasons(output, least)
            elif not output.sqnr >= least and math.isfinite(output.sqnr):
                yield f"output {output.name!r} has an SQNR of {output.sqnr:.1f} dB; at least {least:g} dB is required"
            elif output.sqnr == -math.inf:
                yield f"output {output.name!r} of the reference is zero on all samples, but the output of the file is not"
            elif output.variation_sqnr is not None and output.variation_sqnr < min(0.0, least):
                yield f"the error of output {output.name!r} exceeds the variation of the output: {output.variation_sqnr:.1f} dB"
            elif output.worst_part and output.worst_part.lost and (output.worst_part.variation_sqnr or -math.inf) < least:
                part = output.worst_part
                yield f"{part.name} of output {output.name!r} is lost: {part.lost} ({part.variation_sqnr:.1f} dB)"
            if error_limit and output.most_error_lsb is not None and output.most_error_lsb > error_limit.steps:
                yield (
                    f"99.9 % of output {output.name!r} lie within {output.most_error_lsb:g} steps (LSB) of the quantization-aware "
                    f"model; {error_limit}. Compare the layers to find the first one that differs, and leave it out with "
                    "quantize_aware(exclude=...), or allow more with max_qat_error_lsb"
                )
        if self._compared and least > 0:
            coarse = ((output.name, output.parts.coarse_softmax()) for output in self._outputs)
            for name, why in coarse:
                if why:
                    yield (
                        f"output {name!r} is {why}. Leave the softmax out with logits=True (--logits), and compute it around the "
                        "file if probabilities are needed; the first class is that of the largest logit"
                    )
        before, after = self.accuracy(of_reference=True), self.accuracy()
        if self._compared and before is not None and after is not None and before - after > settings.max_accuracy_drop + 1e-12:
            yield (
                f"the accuracy drops by {100 * (before - after):.2f} points, from {100 * before:.2f} % to {100 * after:.2f} %; "
                f"no more than {100 * settings.max_accuracy_drop:g} is allowed"
            )

    def notes(self) -> Iterator[str]:
        """Yields what a reader should know of outputs whose parts share a scale that is too coarse for one of them."""
        for output in self._outputs if self._compared else ():
            why = output.parts.scales_apart()
            if why:
                way = "make the parts outputs of the Keras model, or bring them to one range within it"
                if len(output.parts.layout.writers) > 1:
                    way = "split_outputs=True (--split-outputs) makes the parts outputs of their own"
                yield f"in output {output.name!r}, {why}; {way}"


def _integer_reasons(output: OutputNumbers, least: float) -> Iterator[str]:
    """Why an output of integers fails: as many values must be equal as the smallest SQNR lets numbers be off by."""
    needed, part = 1 - 10 ** (-max(least, 0.0) / 20), output.worst_part
    if output.agreement is not None and output.agreement < needed:
        yield (
            f"{100 * output.agreement:.1f} % of the integers of output {output.name!r} are those of the reference; at least "
            f"{100 * needed:g} % are required"
        )
    elif part is not None and part.lost and part.agreement is not None and needed:
        yield f"{part.name} of output {output.name!r} is lost: {part.lost} ({100 * part.agreement:.1f} % are equal)"


def decibel(signal: float, noise: float) -> float:
    """Signal to noise in dB; infinite without noise, NaN if a sum is not finite."""
    if noise == 0:
        return math.inf
    if not (math.isfinite(signal) and math.isfinite(noise)):
        return math.nan
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _class_ids(labels: npt.NDArray[Any], output: npt.NDArray[Any]) -> npt.NDArray[np.int64] | None:
    """Class ids (n,), or None if the labels are not classes of the output."""
    if output.ndim != 2:
        return None
    classes = output.shape[1]
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and labels.shape == output.shape and np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all():
        return labels.argmax(1)
    whole = labels.ndim == 1 and labels.dtype.kind in "iubf" and (labels == np.floor(labels)).all()
    if whole and labels.min() >= 0 and labels.max() < max(classes, 2):
        return labels.astype(np.int64)
    return None
