"""`check()`: is a TFLite file what it claims to be? Its structure, and its numbers against a reference."""

import dataclasses
import itertools

import numpy as np

from tfopt.checking import output_errors
from tfopt.checking import reference as reference_side
from tfopt.checking.layer_errors import examine
from tfopt.checking.thresholds import check_thresholds
from tfopt.data.open_samples import open_samples
from tfopt.data.representative import conform
from tfopt.errors import ArgumentError, DataError
from tfopt.keras_model.walk import walk_layers
from tfopt.reporting import report
from tfopt.tflite import op_audit
from tfopt.tflite.interpreter import Interpreter


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """What `check` found.

    Attributes:
        passed: bool.
        reasons: tuple of str, why it failed; empty if it passed.
        notes: tuple of str, what else a reader should know.
        structure: `structure.Structure`.
        outputs: tuple of `numbers.OutputNumbers`; empty without reference or data.
        samples: int, how many were compared.
        data: str, which data they came from.
        reference_accuracy, accuracy: float in [0, 1], of the reference and the file; None without labels of classes.
        layers: tuple of `layer_numbers.LayerNumbers`, worst SQNR first; empty unless asked for.
        causes: tuple of `causes.Cause`, known reasons of a large error, with remedies; empty unless asked for.
    """

    passed: bool
    reasons: tuple
    notes: tuple
    structure: op_audit.Structure
    outputs: tuple
    samples: int
    data: str
    reference_accuracy: float | None
    accuracy: float | None
    layers: tuple = ()
    causes: tuple = ()

    @property
    def accuracy_drop(self):
        """`reference_accuracy - accuracy`, None without labels; negative where the file is the better one."""
        return None if self.accuracy is None or self.reference_accuracy is None else self.reference_accuracy - self.accuracy


def check(
    tflite,
    reference=None,
    data=None,
    labels=None,
    *,
    max_accuracy_drop=0.01,
    min_sqnr=20.0,
    layers=False,
    threads=1,
    scale=None,
    custom_objects=None,
    architecture=None,
    allow_unsafe=False,
):
    """Checks a TFLite file: its structure always; its outputs with a reference and data; its accuracy with labels.

    A file fails if it is int8 or int16x8 and holds a float op, if an output is NaN, if the SQNR of an output is below
    `min_sqnr`, or if the accuracy drops by more than `max_accuracy_drop`.

    Example:

    ```python
    result = tfopt.check("model.tflite", reference=model, data=x_test, labels=y_test)
    print(result.passed, result.reasons, result.outputs[0].sqnr)
    worst = tfopt.check("model.tflite", reference=model, data=x_test, layers=True).layers[0]
    print(worst.name, worst.sqnr)
    ```

    Args:
        tflite: path or bytes of a TFLite file.
        reference: Keras model, or path of a model that `load` reads, or path or bytes of another TFLite file.
        data: anything that `samples.open_samples` takes; may hold labels itself.
        labels: class ids (n,), one-hot rows (n, classes), or path of a `.npy` file with them.
        max_accuracy_drop: float >= 0, as a fraction (0.01 is one point).
        min_sqnr: float, dB.
        layers: bool, whether the outputs of the layers are compared too, on up to 64 samples spread over the data, and known
            causes of error are looked for. The reference must then be the Keras model that the file was made of.
        threads: int >= 1, for the TFLite interpreter.
        scale: for a folder of images: "0..1", "-1..1" or "0..255".
        custom_objects, architecture, allow_unsafe: as for `load`, if `reference` is a path.

    Returns:
        `CheckResult`. It does not raise because a file is bad; only because it cannot be read.

    Raises:
        LoadError, DataError, ArgumentError.
    """
    check_thresholds(max_accuracy_drop=max_accuracy_drop, min_sqnr=min_sqnr)
    if layers and data is None:
        raise ArgumentError("Layers are compared on data. Received: none. Give them with --data (Python: data=...).")
    if data is None and (reference is not None or labels is not None):
        raise ArgumentError(
            "`data` are required to compare with a reference or labels. Received: none. Give them with --data (Python: data=...)."
        )
    interpreter = Interpreter(tflite, threads=threads)
    reference = reference_side.open_reference(reference, custom_objects, architecture, allow_unsafe, threads)
    is_keras = reference is not None and not isinstance(reference, Interpreter)
    if layers and not is_keras:
        received = "no reference" if reference is None else "a TFLite file"
        raise ArgumentError(
            f"Layers are compared with the Keras model that the file was made of. Received: {received}. "
            "Give it with --reference MODEL (Python: reference=model)."
        )
    run, names, bound = None, (), None
    if is_keras:
        bound = reference_side.bind_keras(reference, interpreter)
        run, names = reference_side.run_keras(*bound, interpreter), [layer.name for layer in walk_layers(reference)]
    elif reference is not None:
        run = reference_side.run_tflite(reference, interpreter)
    samples = (
        None if data is None else open_samples(data, reference_side.interpreter_specs(interpreter), labels=labels, scale=scale)
    )
    result = compare(
        interpreter, run, samples, data="the given data", layer_names=names, max_accuracy_drop=max_accuracy_drop, min_sqnr=min_sqnr
    )
    if not layers:
        return result
    observed = Interpreter(tflite, threads=threads, keep_all=True)
    numbers, causes = examine(observed, *bound, lambda count: _spread_batches(observed, samples, count), result.structure)
    return dataclasses.replace(result, layers=numbers, causes=causes)


def check_file(request, progress):
    """`check` for a child process.

    Args:
        request: dict, the arguments of `check`.
        progress: called with {"stage": ...}.

    Returns:
        dict of JSON types, as in the report of a conversion.
    """
    progress({"stage": "check"})
    result = check(**request)
    return report.to_dict(result) | {"accuracy_drop": result.accuracy_drop}


def compare(
    interpreter,
    reference,
    samples,
    *,
    data,
    layer_names=(),
    max_accuracy_drop,
    min_sqnr,
    quantization=None,
    allow_float=False,
    progress=None,
):
    """What `check` does once files and data are open.

    Args:
        interpreter: `Interpreter` of the file.
        reference: None or a function from a batch, {input name: array (batch size, ...)}, to the list of outputs.
        samples: None or `samples.Samples`.
        data: str, what the samples are.
        layer_names: names of the Keras model's layers.
        max_accuracy_drop, min_sqnr: as for `check`.
        quantization: what the file is meant to be, None if only the file can tell.
        allow_float: bool, whether float ops are listed without failing the file.
        progress: None or a function that is called with {"stage", "done", "total"}.

    Returns:
        `CheckResult`.
    """
    if samples is not None and samples.endless:
        raise DataError(f"Data to check with must end. Received: {samples.source}, which repeats for ever. Add `.take(n)`.")
    found = op_audit.examine(interpreter, layer_names, quantization)
    reasons, notes = [], []
    if quantization not in (None, found.quantization):
        reasons.append(f"the file should be {quantization}, but it is {found.quantization}")
    in_float = dict.fromkeys(_float_reason(op, quantization or found.quantization) for op in found.float_ops)
    (notes if allow_float else reasons).extend(in_float)
    tally = output_errors.Tally(interpreter, reference is not None)
    if samples is not None:
        for arrays, labels in _batches(interpreter, enumerate(samples.read())):
            tally.add(arrays, reference, labels)
            if progress:
                progress({"stage": "check", "done": tally.count, "total": samples.count})
    outputs = tally.numbers()
    reasons += tally.reasons(outputs, min_sqnr, max_accuracy_drop, with_reference=reference is not None)
    if samples is not None and samples.labelled and tally.accuracy() is None:
        notes.append("the labels are not class ids or one-hot rows for the first output: no accuracy was measured")
    if samples is None:
        notes.append("only the structure was checked: no data were given")
    return CheckResult(
        not reasons, tuple(reasons), tuple(notes), found, outputs, tally.count, data if samples is not None else "none",
        tally.accuracy(of_reference=True) if reference is not None else None, tally.accuracy(),
    )  # fmt: skip


def _batches(interpreter, stream):
    """Yields ({input name: array}, labels) of the (index, (inputs, label)) in `stream`; the last sample fills up the last batch."""
    specs = reference_side.interpreter_specs(interpreter)
    while batch := list(itertools.islice(stream, interpreter.batch_size)):
        conformed = [conform(inputs, specs, index, {}) for index, (inputs, _) in batch]
        padded = conformed + [conformed[-1]] * (interpreter.batch_size - len(conformed))
        yield {spec.name: np.stack([sample[spec.name] for sample in padded]) for spec in specs}, [label for _, (_, label) in batch]


def _spread_batches(interpreter, samples, count):
    """Yields ({input name: array}, rows) of `count` samples: spread over the data, the first ones if their number is unknown."""
    if samples.count is None:
        stream = enumerate(itertools.islice(samples.read(), count))
    else:
        chosen = np.unique(np.linspace(0, samples.count - 1, min(count, samples.count)).astype(int)).tolist()
        stream = zip(chosen, samples.read(chosen), strict=True)
    for arrays, labels in _batches(interpreter, stream):
        yield arrays, len(labels)


def _float_reason(op, kind):
    where = f" of layer {op.layer!r}" if op.layer else ""
    what = "an inner" if op.op in ("QUANTIZE", "DEQUANTIZE") else "a float"
    return f"the {kind} model holds {what} {op.op} op{where or f' (tensor {op.tensor!r})'}"
