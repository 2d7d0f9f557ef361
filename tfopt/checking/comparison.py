"""Compare an open TFLite file with a reference on samples, and give the verdict."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tfopt.checking import reference as reference_side
from tfopt.checking.output_errors import OutputNumbers, Tally
from tfopt.checking.reference import Batch, Reference
from tfopt.checking.result import CheckResult
from tfopt.checking.settings import CheckSettings
from tfopt.data.representative import conform
from tfopt.data.samples import Samples
from tfopt.errors import DataError
from tfopt.progress import Progress, ignore
from tfopt.tflite import op_audit
from tfopt.tflite.interpreter import Interpreter


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileUnderTest:
    """A TFLite file, the samples that it is checked on, and its intended properties.

    Attributes:
        interpreter: runs the file.
        samples: None if only the structure is checked.
        origin: where the samples come from, for the report.
        layer_names: names of the Keras model's layers.
        quantization: the intended quantization; None if only the file can tell.
        allow_float: whether float ops are listed without failing the file.
    """

    interpreter: Interpreter
    samples: Samples | None
    origin: str
    layer_names: tuple[str, ...] = ()
    quantization: str | None = None
    allow_float: bool = False


def compare(file: FileUnderTest, reference: Reference | None, settings: CheckSettings, progress: Progress = ignore) -> CheckResult:
    """Checks the structure of a file and, with samples, its outputs and its accuracy.

    Args:
        file: the file and its samples.
        reference: None, or the function whose outputs are right.
        settings: the limits.
        progress: called with {"stage", "done", "total"}.
    """
    samples = file.samples
    if samples is not None and samples.endless:
        raise DataError(f"Data to check with must end. Received: {samples.source}, which repeats for ever. Add `.take(n)`.")
    found = op_audit.examine(file.interpreter, file.layer_names, file.quantization)
    reasons: list[str] = []
    notes: list[str] = []
    if file.quantization not in (None, found.quantization):
        reasons.append(f"the file should be {file.quantization}, but it is {found.quantization}")
    in_float = dict.fromkeys(_float_reason(op, file.quantization or found.quantization) for op in found.float_ops)
    (notes if file.allow_float else reasons).extend(in_float)
    tally = Tally(file.interpreter, reference is not None)
    if samples is not None:
        for arrays, labels in batches(file.interpreter, enumerate(samples.read())):
            tally.add(arrays, reference, labels)
            progress({"stage": "check", "done": tally.count, "total": samples.count})
    outputs: tuple[OutputNumbers, ...] = tally.numbers()
    reasons += tally.reasons(outputs, settings.min_sqnr, settings.max_accuracy_drop, with_reference=reference is not None)
    if samples is not None and samples.labelled and tally.accuracy() is None:
        notes.append("the labels are not class ids or one-hot rows for the first output: no accuracy was measured")
    if samples is None:
        notes.append("only the structure was checked: no data were given")
    return CheckResult(
        passed=not reasons,
        reasons=tuple(reasons),
        notes=tuple(notes),
        structure=found,
        outputs=outputs,
        samples=tally.count,
        data=file.origin if samples is not None else "no data",
        reference_accuracy=tally.accuracy(of_reference=True) if reference is not None else None,
        accuracy=tally.accuracy(),
    )


def batches(
    interpreter: Interpreter, stream: Iterable[tuple[int, tuple[Mapping[str, Any], Any]]]
) -> Iterator[tuple[Batch, list[Any]]]:
    """Yields (batch, labels) of the (index, (inputs, label)) in `stream`; the last sample is repeated to fill the last batch."""
    specs, stream = reference_side.interpreter_specs(interpreter), iter(stream)
    while batch := list(itertools.islice(stream, interpreter.batch_size)):
        conformed = [conform(inputs, specs, index, {}) for index, (inputs, _) in batch]
        padded = conformed + [conformed[-1]] * (interpreter.batch_size - len(conformed))
        yield {spec.name: np.stack([sample[spec.name] for sample in padded]) for spec in specs}, [label for _, (_, label) in batch]


def spread_batches(interpreter: Interpreter, samples: Samples, count: int) -> Iterator[tuple[Batch, int]]:
    """Yields (batch, rows that are samples) of `count` samples: spread over the data, or the first if their number is unknown."""
    stream: Iterable[Any]
    if samples.count is None:
        stream = enumerate(itertools.islice(samples.read(), count))
    else:
        chosen = np.unique(np.linspace(0, samples.count - 1, min(count, samples.count)).astype(int)).tolist()
        stream = zip(chosen, samples.read(chosen), strict=True)
    for arrays, labels in batches(interpreter, stream):
        yield arrays, len(labels)


def _float_reason(op: op_audit.FloatOp, quantization: str) -> str:
    where = f" of layer {op.layer!r}" if op.layer else ""
    kind = "an inner" if op.op in ("QUANTIZE", "DEQUANTIZE") else "a float"
    return f"the {quantization} model holds {kind} {op.op} op{where or f' (tensor {op.tensor!r})'}"
