"""Numbers that tell how far a TFLite file is from its reference, added up batch by batch."""

import dataclasses
import math

import numpy as np

from tfopt.errors import DataError
from tfopt.tflite import op_audit


@dataclasses.dataclass(frozen=True)
class OutputNumbers:
    """One output of the file against the same output of the reference.

    Attributes:
        name: str.
        sqnr: float, signal to quantization noise in dB, `10 log10(sum r^2 / sum (r - y)^2)`; infinite if equal.
        variation_sqnr: float, the same with the signal's variation about its mean, `sum (r - mean r)^2`, in place of the signal:
            an output with a large constant part has a high SQNR even where noise drowns what changes. None where all samples
            are alike.
        cosine: float, `r.y / (|r| |y|)`.
        max_error, mean_error: float, of `|r - y|`.
        max_error_lsb, mean_error_lsb: float, the same in steps of the output's scale; None where the output has none.
        most_error_lsb: float, what 99.9 % of the output's values do not exceed, to half a step.
        agreement: float in [0, 1], share of samples with the same argmax; None where the output is no row of classes.
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


_HALF_STEPS = 512  # an int8 output has no error of more


class Tally:
    """Adds up what one pass over the data tells, so that no output is kept."""

    def __init__(self, interpreter, compared):
        self._interpreter, self._compared = interpreter, compared
        self._scales = op_audit.output_scales(interpreter.graph, interpreter.output_indices)
        self._means = [(0, 0.0)] * len(self._scales)  # (rows so far, mean of each element over them)
        self._in_unit = True  # whether a single value looks like a probability, deciding at 0.5, or like a logit, at 0
        self._sums = [dict.fromkeys(("rr", "yy", "ry", "ee", "abs", "max", "size", "same", "variation"), 0.0) for _ in self._scales]
        self._steps = [np.zeros(_HALF_STEPS + 1, np.int64) for _ in self._scales]  # how many errors round to 0, 1/2, 1, ... steps
        self._not_finite = set()
        self._has_classes = [False] * len(self._scales)
        self._right = {"file": np.zeros(2, int), "reference": np.zeros(2, int)}  # at the thresholds 0 and 0.5
        self._labelled, self._ungraded = 0, 0
        self.count = 0

    def add(self, arrays, reference, labels):
        outputs = self._interpreter.run(arrays)
        rows = len(labels)
        expected = reference(arrays) if reference else [None] * len(outputs)
        if len(expected) != len(outputs):
            raise DataError(f"The reference must have as many outputs as the file, {len(outputs)}. Received: {len(expected)}.")
        for index, (output, wanted) in enumerate(zip(outputs, expected, strict=True)):
            output = self._rows(output, rows).astype(np.float64)
            if not np.isfinite(output).all():
                self._not_finite.add(("the file", index))
            if wanted is not None:
                self._compare(index, output, self._rows(np.asarray(wanted), rows).astype(np.float64))
        first = None if expected[0] is None else self._rows(np.asarray(expected[0]), rows)
        self._grade(self._rows(outputs[0], rows), first, labels)
        self.count += rows

    def _rows(self, output, count):
        """Without the rows that only fill up the last batch; an output that has no row for each sample stays whole."""
        return output[:count] if output.ndim and len(output) == self._interpreter.batch_size else output

    def _compare(self, index, output, wanted):
        if output.shape != wanted.shape:
            raise DataError(f"Output {index} of the reference must have the shape {output.shape}. Received: {wanted.shape}.")
        if not np.isfinite(wanted).all():
            self._not_finite.add(("the reference", index))
        sums, error = self._sums[index], np.abs(wanted - output)
        sums["rr"] += float((wanted**2).sum())
        sums["yy"] += float((output**2).sum())
        sums["ry"] += float((wanted * output).sum())
        sums["ee"] += float((error**2).sum())
        sums["abs"] += float(error.sum())
        sums["max"] = max(sums["max"], float(error.max(initial=0.0)))
        sums["size"] += error.size
        if self._scales[index]:
            steps = np.nan_to_num(np.round(2 * error / self._scales[index]), nan=_HALF_STEPS).clip(0, _HALF_STEPS).astype(int)
            self._steps[index] += np.bincount(steps.ravel(), minlength=_HALF_STEPS + 1)
        # Chan, Golub and LeVeque's update of a sum of squares about the mean by a batch.
        values, (seen, mean) = np.atleast_1d(wanted), self._means[index]
        total, own = seen + len(values), values.mean(axis=0)
        sums["variation"] += float(((values - own) ** 2).sum() + ((own - mean) ** 2).sum() * seen * len(values) / total)
        self._means[index] = total, mean + (own - mean) * len(values) / total
        if output.ndim == 2 and output.shape[1] > 1:
            self._has_classes[index] = True
            sums["same"] += int((output.argmax(1) == wanted.argmax(1)).sum())

    def _grade(self, output, wanted, labels):
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

    def accuracy(self, of_reference=False):
        if not self._labelled or self._ungraded:
            return None
        return float(self._right["reference" if of_reference else "file"][int(self._in_unit)] / self._labelled)

    def numbers(self):
        if not self._compared or not self.count:
            return ()
        numbers = []
        names = self._interpreter.output_names
        for name, sums, scale, steps, classes in zip(names, self._sums, self._scales, self._steps, self._has_classes, strict=True):
            noise, signal, product = sums["ee"], sums["rr"], math.sqrt(sums["rr"] * sums["yy"])
            mean = sums["abs"] / sums["size"]
            numbers.append(
                OutputNumbers(
                    name=name,
                    sqnr=decibel(signal, noise),
                    # Samples that are all alike, but for rounding, vary by nothing that could be compared.
                    variation_sqnr=decibel(sums["variation"], noise) if sums["variation"] > 1e-12 * signal else None,
                    cosine=sums["ry"] / product if product else float(noise == 0),
                    max_error=sums["max"],
                    mean_error=mean,
                    max_error_lsb=sums["max"] / scale if scale else None,
                    mean_error_lsb=mean / scale if scale else None,
                    most_error_lsb=int(np.searchsorted(np.cumsum(steps), 0.999 * steps.sum())) / 2 if scale else None,
                    agreement=sums["same"] / self.count if classes else None,
                )
            )
        return tuple(numbers)

    def reasons(self, outputs, min_sqnr, max_accuracy_drop, *, with_reference):
        names = self._interpreter.output_names
        for who, index in sorted(self._not_finite):
            yield f"output {names[index]!r} of {who} is NaN or infinite on some samples"
        for output in outputs:
            if not output.sqnr >= min_sqnr and math.isfinite(output.sqnr):
                yield f"output {output.name!r} has an SQNR of {output.sqnr:.1f} dB; at least {min_sqnr:g} dB is required"
            elif output.sqnr == -math.inf:
                yield f"output {output.name!r} of the reference is zero on all samples, that of the file is not"
            elif output.variation_sqnr is not None and output.variation_sqnr < min(0.0, min_sqnr):
                yield f"the error of output {output.name!r} exceeds what the output varies: {output.variation_sqnr:.1f} dB"
        if with_reference and self.accuracy() is not None:
            drop = self.accuracy(of_reference=True) - self.accuracy()
            if drop > max_accuracy_drop + 1e-12:
                yield (
                    f"the accuracy drops by {100 * drop:.2f} points, from {100 * self.accuracy(of_reference=True):.2f} % to "
                    f"{100 * self.accuracy():.2f} %; no more than {100 * max_accuracy_drop:g} is allowed"
                )


def decibel(signal, noise):
    """Signal to noise in dB; infinite without noise, NaN where a sum is not finite."""
    if noise == 0:
        return math.inf
    if not (math.isfinite(signal) and math.isfinite(noise)):
        return math.nan
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _class_ids(labels, output):
    """Class ids (n,), or None where the labels are not classes of the output."""
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
