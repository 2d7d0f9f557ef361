"""The findings of a check, and how they are printed."""

from __future__ import annotations

import dataclasses

from tfopt.checking.layer_facts import Cause
from tfopt.checking.layer_numbers import LayerNumbers
from tfopt.checking.output_errors import OutputNumbers
from tfopt.reporting import report, summary
from tfopt.reporting.tables import Block, Summarized
from tfopt.reporting.units import decibel, percent, plural
from tfopt.tflite.op_audit import Structure


@dataclasses.dataclass(frozen=True, repr=False)
class CheckResult(Summarized):
    """The findings of `check`. `print(result)` prints the table of the command line, and a notebook shows it.

    Attributes:
        passed: the verdict.
        reasons: why the file failed; empty if it passed.
        notes: other facts that a reader should know.
        structure: the ops and tensors of the file.
        outputs: the error of each output; empty without a reference or data.
        samples: number of samples that were compared.
        data: the origin of the samples.
        reference_accuracy: of the reference, in [0, 1]; None without a reference or labels of classes.
        accuracy: of the file, in [0, 1]; None without labels of classes.
        layers: the error of each layer, worst SQNR first; empty unless asked for.
        causes: known causes of a large error, with remedies; empty unless asked for.
    """

    passed: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    structure: Structure
    outputs: tuple[OutputNumbers, ...]
    samples: int
    data: str
    reference_accuracy: float | None
    accuracy: float | None
    layers: tuple[LayerNumbers, ...] = ()
    causes: tuple[Cause, ...] = ()

    @property
    def accuracy_drop(self) -> float | None:
        """`reference_accuracy - accuracy`, negative if the file is better than the reference; None if one of them is None."""
        return None if self.accuracy is None or self.reference_accuracy is None else self.reference_accuracy - self.accuracy

    def _summary(self) -> list[Block]:
        found = report.to_dict(self)
        return [*summary.of_check(found, "the file"), *summary.verdict(found)]

    def __repr__(self) -> str:
        verdict = "passed" if self.passed else f"FAILED for {plural(len(self.reasons), 'reason')}"
        facts = [verdict, self.structure.quantization]
        sqnr = min((output.sqnr for output in self.outputs if output.sqnr is not None), default=None)
        facts += [decibel(sqnr)] if sqnr is not None else []
        facts += [f"accuracy {percent(self.accuracy)}"] if self.accuracy is not None else []
        return f"CheckResult({', '.join(facts)})"
