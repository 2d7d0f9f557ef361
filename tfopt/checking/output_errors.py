"""How far the outputs of a TFLite file are from the outputs of its reference, added up batch by batch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

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
        sqnr: signal to quantization noise in dB, `10 log10(sum r^2 / sum (r - y)^2)`; infinite if the outputs are equal.
        variation_sqnr: the same in dB with the variation of the signal about its mean, `sum (r - mean r)^2`, instead of the signal:
            an output with a large constant part has a high SQNR even if noise drowns the part that changes. None if all samples
            are alike.
        cosine: `r.y / (|r| |y|)`, in [-1, 1].
        max_error, mean_error: of `|r - y|`, in the output's own unit.
        max_error_lsb, mean_error_lsb: the same in steps of the output's scale; None if the output has no scale.
        most_error_lsb: an error in steps, to half a step, that 99.9 % of the output's values do not exceed.
        agreement: share of samples with the same argmax, in [0, 1]; None if the output is not a row of classes.
    """

    name: str
    sqnr: float
    variation_sqnr: float | None
    cosine: float
    max_error: float
    mean_error: float
    max_error_lsb: float | None
    mean_error_lsb: float | None
    most_error_lsb: float | None
    agreement: float | None


class _OutputTally:
    """The sums of one output `y` and its reference `r` over all samples.

    Args:
        name: of the output.
        scale: of the output, in real units; 0.0 if it has none.
    """

    def __init__(self, name: str, scale: float) -> None:
        self.name = name
        self._scale = scale
        self._signal = self._power = self._product = self._noise = 0.0  # of r^2, y^2, r y and (r - y)^2
        self._error = self._max_error = 0.0
        self._steps = np.zeros(_HALF_STEPS + 1, np.int64)  # how many errors round to 0, 1/2, 1, ... steps
        self._rows, self._size = 0, 0
        self._mean: npt.NDArray[np.float64] = np.zeros(())  # of each element of r over the rows so far
        self._variation = 0.0
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
        # Chan, Golub and LeVeque's update of a sum of squares about the mean by a batch.
        values = np.atleast_1d(wanted)
        total, own = self._rows + len(values), values.mean(axis=0)
        between = ((own - self._mean) ** 2).sum() * self._rows * len(values) / total
        self._variation += float(((values - own) ** 2).sum() + between)
        self._rows, self._mean = total, self._mean + (own - self._mean) * len(values) / total
        if output.ndim == 2 and output.shape[1] > 1:
            self._same = (self._same or 0) + int((output.argmax(1) == wanted.argmax(1)).sum())

    def numbers(self, samples: int) -> OutputNumbers:
        """The errors over all `samples`."""
        scale, mean = self._scale, self._error / self._size
        norms = math.sqrt(self._signal * self._power)
        return OutputNumbers(
            name=self.name,
            sqnr=decibel(self._signal, self._noise),
            # Samples that are all alike, but for rounding, have no variation to compare with.
            variation_sqnr=decibel(self._variation, self._noise) if self._variation > 1e-12 * self._signal else None,
            cosine=self._product / norms if norms else float(self._noise == 0),
            max_error=self._max_error,
            mean_error=mean,
            max_error_lsb=self._max_error / scale if scale else None,
            mean_error_lsb=mean / scale if scale else None,
            most_error_lsb=int(np.searchsorted(np.cumsum(self._steps), 0.999 * self._steps.sum())) / 2 if scale else None,
            agreement=None if self._same is None else self._same / samples,
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
        scales = op_audit.output_scales(interpreter.graph, interpreter.output_indices)
        self._outputs = [_OutputTally(name, scale) for name, scale in zip(interpreter.output_names, scales, strict=True)]
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
            if not output.sqnr >= least and math.isfinite(output.sqnr):
                yield f"output {output.name!r} has an SQNR of {output.sqnr:.1f} dB; at least {least:g} dB is required"
            elif output.sqnr == -math.inf:
                yield f"output {output.name!r} of the reference is zero on all samples, but the output of the file is not"
            elif output.variation_sqnr is not None and output.variation_sqnr < min(0.0, least):
                yield f"the error of output {output.name!r} exceeds the variation of the output: {output.variation_sqnr:.1f} dB"
            if error_limit and output.most_error_lsb is not None and output.most_error_lsb > error_limit.steps:
                yield (
                    f"99.9 % of output {output.name!r} lie within {output.most_error_lsb:g} steps (LSB) of the quantization-aware "
                    f"model; {error_limit}. Compare the layers to find the first one that differs, and leave it out with "
                    "quantize_aware(exclude=...), or allow more with max_qat_error_lsb"
                )
        before, after = self.accuracy(of_reference=True), self.accuracy()
        if self._compared and before is not None and after is not None and before - after > settings.max_accuracy_drop + 1e-12:
            yield (
                f"the accuracy drops by {100 * (before - after):.2f} points, from {100 * before:.2f} % to {100 * after:.2f} %; "
                f"no more than {100 * settings.max_accuracy_drop:g} is allowed"
            )


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
