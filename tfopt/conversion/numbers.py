"""Numbers that tell how far a TFLite file is from its reference, added up batch by batch."""

import dataclasses
import math

import numpy as np

from tfopt.conversion import structure
from tfopt.errors import DataError


@dataclasses.dataclass(frozen=True)
class OutputNumbers:
    """One output of the file against the same output of the reference.

    Attributes:
        name: str.
        sqnr: float, signal to quantization noise in dB, `10 log10(sum r^2 / sum (r - y)^2)`; infinite if equal.
        cosine: float, `r.y / (|r| |y|)`.
        max_error, mean_error: float, of `|r - y|`.
        max_error_lsb, mean_error_lsb: float, the same in steps of the output's scale; None where the output has none.
        agreement: float in [0, 1], share of samples with the same argmax; None where the output is no row of classes.
    """

    name: str
    sqnr: float
    cosine: float
    max_error: float
    mean_error: float
    max_error_lsb: float | None
    mean_error_lsb: float | None
    agreement: float | None


class Tally:
    """Adds up what one pass over the data tells, so that no output is kept."""

    def __init__(self, interpreter, compared):
        self._interpreter, self._compared = interpreter, compared
        self._scales = structure.output_scales(interpreter.graph)
        self._sums = [dict.fromkeys(("rr", "yy", "ry", "ee", "abs", "max", "size", "same"), 0.0) for _ in self._scales]
        self._not_finite = set()
        self._has_classes = [False] * len(self._scales)
        self._right, self._right_reference, self._labelled, self._ungraded = 0, 0, 0, 0
        self._threshold = 0.5 if structure.ends_in_probabilities(interpreter.graph) else 0.0
        self.count = 0

    def add(self, arrays, reference, labels):
        outputs = self._interpreter(arrays)
        outputs = list(outputs.values()) if isinstance(outputs, dict) else [outputs]
        rows = len(labels)
        expected = reference(arrays) if reference else [None] * len(outputs)
        if len(expected) != len(outputs):
            raise DataError(f"The reference must have as many outputs as the file, {len(outputs)}. Received: {len(expected)}.")
        for index, (output, wanted) in enumerate(zip(outputs, expected, strict=True)):
            output = output[:rows].astype(np.float64)
            if not np.isfinite(output).all():
                self._not_finite.add(("the file", index))
            if wanted is not None:
                self._compare(index, output, np.asarray(wanted)[:rows].astype(np.float64))
        self._grade(outputs[0][:rows], None if expected[0] is None else np.asarray(expected[0])[:rows], labels)
        self.count += rows

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
        self._right += int((self._decide(output) == classes).sum())
        if wanted is not None:
            self._right_reference += int((self._decide(wanted) == classes).sum())

    def _decide(self, output):
        return output.argmax(1) if output.shape[1] > 1 else (output[:, 0] > self._threshold).astype(np.int64)

    def accuracy(self, of_reference=False):
        if not self._labelled or self._ungraded:
            return None
        return (self._right_reference if of_reference else self._right) / self._labelled

    def numbers(self):
        if not self._compared or not self.count:
            return ()
        numbers = []
        for name, sums, scale, classes in zip(
            self._interpreter.output_names, self._sums, self._scales, self._has_classes, strict=True
        ):
            noise, signal, product = sums["ee"], sums["rr"], math.sqrt(sums["rr"] * sums["yy"])
            sqnr = math.inf if noise == 0 else -math.inf if signal == 0 else 10 * math.log10(signal / noise)
            mean = sums["abs"] / sums["size"]
            numbers.append(
                OutputNumbers(
                    name=name,
                    sqnr=sqnr,
                    cosine=sums["ry"] / product if product else float(noise == 0),
                    max_error=sums["max"],
                    mean_error=mean,
                    max_error_lsb=sums["max"] / scale if scale else None,
                    mean_error_lsb=mean / scale if scale else None,
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
        if with_reference and self.accuracy() is not None:
            drop = self.accuracy(of_reference=True) - self.accuracy()
            if drop > max_accuracy_drop + 1e-12:
                yield (
                    f"the accuracy drops by {100 * drop:.2f} points, from {100 * self.accuracy(of_reference=True):.2f} % to "
                    f"{100 * self.accuracy():.2f} %; no more than {100 * max_accuracy_drop:g} is allowed"
                )


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
