"""`check()`: is a TFLite file what it claims to be? Its structure, and its numbers against a reference."""

import dataclasses
import itertools
import pathlib

import numpy as np

from tfopt import surgery
from tfopt.conversion import export, numbers, report, signature, structure
from tfopt.conversion import samples as reading
from tfopt.conversion.calibrate import conform
from tfopt.conversion.interpreter import Interpreter, is_tflite
from tfopt.conversion.load import load
from tfopt.conversion.settings import check_thresholds
from tfopt.errors import ArgumentError, DataError


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
    """

    passed: bool
    reasons: tuple
    notes: tuple
    structure: structure.Structure
    outputs: tuple
    samples: int
    data: str
    reference_accuracy: float | None
    accuracy: float | None

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
    ```

    Args:
        tflite: path or bytes of a TFLite file.
        reference: Keras model, or path of a model that `load` reads, or path or bytes of another TFLite file.
        data: anything that `samples.open_samples` takes; may hold labels itself.
        labels: class ids (n,), one-hot rows (n, classes), or path of a `.npy` file with them.
        max_accuracy_drop: float >= 0, as a fraction (0.01 is one point).
        min_sqnr: float, dB.
        threads: int >= 1, for the TFLite interpreter.
        scale: for a folder of images: "0..1", "-1..1" or "0..255".
        custom_objects, architecture, allow_unsafe: as for `load`, if `reference` is a path.

    Returns:
        `CheckResult`. It does not raise because a file is bad; only because it cannot be read.

    Raises:
        LoadError, DataError, ArgumentError.
    """
    check_thresholds(max_accuracy_drop=max_accuracy_drop, min_sqnr=min_sqnr)
    if data is None and (reference is not None or labels is not None):
        raise ArgumentError(
            "`data` are required to compare with a reference or labels. Received: none. Give them with --data (Python: data=...)."
        )
    interpreter = Interpreter(tflite, threads=threads)
    run, names = _open_reference(reference, interpreter, custom_objects, architecture, allow_unsafe, threads)
    samples = None if data is None else reading.open_samples(data, interpreter_specs(interpreter), labels=labels, scale=scale)
    return compare(
        interpreter, run, samples, data="the given data", layer_names=names, max_accuracy_drop=max_accuracy_drop, min_sqnr=min_sqnr
    )


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
    interpreter, reference, samples, *, data, layer_names=(), max_accuracy_drop, min_sqnr, quantization=None, progress=None
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
        progress: None or a function that is called with {"stage", "done", "total"}.

    Returns:
        `CheckResult`.
    """
    if samples is not None and samples.endless:
        raise DataError(f"Data to check with must end. Received: {samples.source}, which repeats for ever. Add `.take(n)`.")
    found = structure.examine(interpreter, layer_names, quantization)
    reasons, notes = [], []
    if quantization not in (None, found.quantization):
        reasons.append(f"the file should be {quantization}, but it is {found.quantization}")
    reasons += dict.fromkeys(_float_reason(op, quantization or found.quantization) for op in found.float_ops)
    tally = numbers.Tally(interpreter, reference is not None)
    if samples is not None:
        specs = interpreter_specs(interpreter)
        stream = enumerate(samples.read())
        while batch := list(itertools.islice(stream, interpreter.batch_size)):
            conformed = [conform(inputs, specs, index, {}) for index, (inputs, _) in batch]
            padded = conformed + [conformed[-1]] * (interpreter.batch_size - len(conformed))
            arrays = {spec.name: np.stack([sample[spec.name] for sample in padded]) for spec in specs}
            tally.add(arrays, reference, [label for _, (_, label) in batch])
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


def interpreter_specs(interpreter):
    """The inputs of a TFLite file as `signature.TensorSpec`s in real units: quantized ones as float32."""
    specs = []
    for name, index in zip(interpreter.input_names, interpreter.graph.inputs, strict=True):
        tensor = interpreter.graph.tensors[index]
        specs.append(signature.TensorSpec(name, tensor.shape, "float32" if tensor.scale else tensor.dtype))
    return specs


def _open_reference(reference, interpreter, custom_objects, architecture, allow_unsafe, threads):
    """(function from a batch to the list of outputs, names of the Keras layers)."""
    if reference is None:
        return None, ()
    if isinstance(reference, (bytes, bytearray)) or (isinstance(reference, (str, pathlib.Path)) and is_tflite(reference)):
        return _run_tflite(Interpreter(reference, threads=threads), interpreter), ()
    if isinstance(reference, (str, pathlib.Path)):
        reference = load(reference, custom_objects=custom_objects, architecture=architecture, allow_unsafe=allow_unsafe)
    elif not hasattr(reference, "layers"):
        raise ArgumentError(f"`reference` must be a Keras model or a path. Received: {type(reference).__name__}.")
    file_specs = interpreter_specs(interpreter)
    shapes = {} if signature.named_tensors(reference, "inputs") else {spec.name: spec.shape for spec in file_specs}
    own = signature.input_specs(reference, shapes)
    pairs = _pair({spec.name: spec.shape[1:] for spec in own}, {spec.name: spec.shape[1:] for spec in file_specs})
    samples = {pairs[spec.name]: spec.shape[1:] for spec in file_specs}
    outputs = signature.output_names(reference)
    traced = export.trace(reference, signature.fix_sizes(own, interpreter.batch_size, samples))

    def run(arrays):
        found = traced({pairs[name]: array for name, array in arrays.items()})
        if outputs is None or set(outputs) != set(interpreter.output_names):
            return found
        return [found[outputs.index(name)] for name in interpreter.output_names]

    return run, [layer.name for layer in surgery.walk_layers(reference)]


def _run_tflite(other, interpreter):
    shapes = [{spec.name: spec.shape[1:] for spec in interpreter_specs(each)} for each in (other, interpreter)]
    pairs = _pair(*shapes)
    same = set(other.output_names) == set(interpreter.output_names)

    def run(arrays):
        outputs = other.run({pairs[name]: array for name, array in arrays.items()})
        return [outputs[other.output_names.index(name)] for name in interpreter.output_names] if same else outputs

    return run


def _pair(reference, file):
    """{input of the file: input of the reference}, given {name: shape of a sample}: by name, else in order, else by shape."""
    if len(reference) != len(file):
        raise DataError(f"The reference must have as many inputs as the file, {len(file)}. Received: {len(reference)}.")
    if set(reference) == set(file):
        return {name: name for name in file}

    def fits(own, wanted):
        return len(own) == len(wanted) and all(size in (None, other) for size, other in zip(own, wanted, strict=True))

    if all(fits(own, wanted) for own, wanted in zip(reference.values(), file.values(), strict=True)):
        return dict(zip(file, reference, strict=True))
    pairs = {name: [own for own, shape in reference.items() if fits(shape, wanted)] for name, wanted in file.items()}
    if any(len(found) != 1 for found in pairs.values()) or len({found[0] for found in pairs.values()}) != len(file):
        raise DataError(f"The inputs of the reference must be those of the file, {file}. Received: {reference}.")
    return {name: found[0] for name, found in pairs.items()}


def _float_reason(op, kind):
    where = f" of layer {op.layer!r}" if op.layer else ""
    what = "an inner" if op.op in ("QUANTIZE", "DEQUANTIZE") else "a float"
    return f"the {kind} model holds {what} {op.op} op{where or f' (tensor {op.tensor!r})'}"
