"""Compare an open TFLite file with its reference on samples, and give the verdict."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tfopt.checking import reference as reference_side
from tfopt.checking.output_errors import Tally
from tfopt.checking.reference import Batch, Reference
from tfopt.checking.result import CheckResult
from tfopt.checking.settings import CheckSettings
from tfopt.data.conform import conform
from tfopt.data.samples import Samples
from tfopt.data.scaling_notes import Range, range_notes
from tfopt.errors import DataError, RunError
from tfopt.lowering.quantization_aware import ErrorLimit
from tfopt.progress import Progress, ignore
from tfopt.tflite import op_audit
from tfopt.tflite.interpreter import Interpreter
from tfopt.tflite.layer_names import NO_SCOPES, Scopes


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileUnderTest:
    """A TFLite file, the samples that it is checked on, and its intended properties.

    Attributes:
        interpreter: runs the file.
        samples: None if only the structure is checked.
        origin: the origin of the samples, for the report.
        layer_names: names of the Keras model's layers; empty without a Keras model.
        scopes: of a trace of the Keras model.
        quantization: the intended quantization; None if it is not known, so that the file itself must tell.
        allow_float: whether float ops are notes instead of reasons to fail.
        calibrated: range of the representative data by input name, if the samples are others; {} if it is not known.
    """

    interpreter: Interpreter
    samples: Samples | None
    origin: str
    layer_names: tuple[str, ...] = ()
    scopes: Scopes = NO_SCOPES
    quantization: str | None = None
    allow_float: bool = False
    calibrated: Mapping[str, Range] = dataclasses.field(default_factory=dict)


def compare(
    file: FileUnderTest,
    reference: Reference | None,
    settings: CheckSettings,
    progress: Progress = ignore,
    error_limit: ErrorLimit | None = None,
) -> CheckResult:
    """Checks the structure of a file and, with samples, its outputs and its accuracy.

    Args:
        file: the file and its samples.
        reference: the function whose outputs are right; None if no outputs are compared.
        settings: the limits.
        progress: called with {"stage", "done", "total"}.
        error_limit: how far an int8 output may be from the reference, if the reference is quantization-aware.

    Raises:
        DataError: the samples never end or do not fit the file, or the outputs of the reference do not have the file's shapes.
    """
    samples = file.samples
    if samples is not None and samples.endless:
        raise DataError(f"Data to check with must end. Received: {samples.source}, which repeats forever. Add `.take(n)`.")
    found = op_audit.examine(file.interpreter, file.layer_names, file.quantization, file.scopes)
    reasons: list[str] = []
    notes: list[str] = []
    if file.quantization not in (None, found.quantization):
        reasons.append(f"the file should be {file.quantization}, but it is {found.quantization}")
    in_float = dict.fromkeys(_float_reason(op, file.quantization or found.quantization) for op in found.float_ops)
    (notes if file.allow_float else reasons).extend(in_float)
    tally = Tally(file.interpreter, reference is not None)
    ranges: dict[str, Range] = {}
    if samples is not None:
        try:
            for arrays, labels in batches(file.interpreter, enumerate(samples.read())):
                tally.add(arrays, reference, labels)
                for name in file.calibrated:
                    low, high = ranges.get(name, (math.inf, -math.inf))
                    ranges[name] = min(low, float(arrays[name].min())), max(high, float(arrays[name].max()))
                progress({"stage": "check", "done": tally.count, "total": samples.count})
        except RunError as error:
            return does_not_run(file, error, tally.count)
    outputs = tally.numbers()
    reasons += tally.reasons(outputs, settings, error_limit if found.quantization == "int8" else None)
    notes.extend(tally.notes())
    (reasons if reasons else notes).extend(range_notes(file.calibrated, ranges))
    if samples is not None and samples.labeled and tally.accuracy() is None:
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


def does_not_run(file: FileUnderTest, error: RunError, count: int = 0) -> CheckResult:
    """The verdict on a file that does not run on its samples.

    Args:
        file: the file and its samples.
        error: of the runtime, or of the process that ran the file.
        count: samples that it ran on before.
    """
    found = op_audit.examine(file.interpreter, file.layer_names, file.quantization, file.scopes)
    return CheckResult(
        passed=False,
        reasons=(f"the file does not run on the data: {error}",),
        notes=(),
        structure=found,
        outputs=(),
        samples=count,
        data=file.origin,
        reference_accuracy=None,
        accuracy=None,
    )


def batches(
    interpreter: Interpreter, stream: Iterable[tuple[int, tuple[Mapping[str, Any], Any]]]
) -> Iterator[tuple[Batch, list[Any]]]:
    """Groups the (index, (inputs, label)) of `stream` and yields (batch, labels); the last sample fills up the last batch."""
    specs, stream = reference_side.interpreter_specs(interpreter), iter(stream)
    while batch := list(itertools.islice(stream, interpreter.batch_size)):
        conformed = [conform(inputs, specs, index, {}) for index, (inputs, _) in batch]
        padded = conformed + [conformed[-1]] * (interpreter.batch_size - len(conformed))
        yield {spec.name: np.stack([sample[spec.name] for sample in padded]) for spec in specs}, [label for _, (_, label) in batch]


def spread_batches(interpreter: Interpreter, samples: Samples, count: int) -> Iterator[tuple[Batch, int]]:
    """Yields (batch, number of its rows that are samples).

    Args:
        interpreter: of the file, which fixes the batch size.
        samples: the data.
        count: how many samples are read: spread over the data, or the first ones if the number of samples is unknown.
    """
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
