"""`check()`: the structure of a TFLite file, and its outputs and its accuracy against a reference."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tfopt.checking import reference as reference_side
from tfopt.checking.comparison import FileUnderTest, batches, compare, does_not_run, spread_batches
from tfopt.checking.layer_errors import examine
from tfopt.checking.result import CheckResult
from tfopt.checking.settings import CheckRequest, CheckSettings
from tfopt.data import signature
from tfopt.data.open_samples import open_samples
from tfopt.data.scaling import Scale
from tfopt.errors import ArgumentError, RunError
from tfopt.files import PathLike
from tfopt.keras_model.outputs import heads
from tfopt.keras_model.walk import short_names
from tfopt.loading.load import Loaded
from tfopt.loading.options import Architecture, CustomObjects, LoadOptions
from tfopt.lowering import quantization_aware
from tfopt.progress import Progress, progress_bar
from tfopt.reporting import report
from tfopt.tflite.interpreter import Interpreter
from tfopt.tflite.layer_names import NO_SCOPES
from tfopt.tflite.probe import require_runnable

if TYPE_CHECKING:
    import keras


def check(
    tflite: PathLike | bytes,
    reference: keras.Model | PathLike | bytes | None = None,
    data: Any = None,
    labels: Any = None,
    *,
    max_accuracy_drop: float = 0.01,
    min_sqnr: float = 20.0,
    max_qat_error_lsb: float | None = None,
    layers: bool = False,
    threads: int = 1,
    scale: Scale | None = None,
    custom_objects: CustomObjects = None,
    architecture: Architecture = None,
    allow_unsafe: bool = False,
    allow_large: bool = False,
    verbose: bool = True,
) -> CheckResult:
    """Checks a TFLite file: always its structure; its outputs if a reference and data are given; its accuracy if there are labels.

    A file fails in each of these cases: it is int8 or int16x8 and holds a float op; an output is NaN or infinite; the SQNR of an
    output is below `min_sqnr`; the error of an output, or of a part of it such as a channel, exceeds its variation about its mean,
    or the part is left with about two values; too few values of an integer output are equal; the steps of an int8 softmax are too
    coarse for its classes; the accuracy drops by more than `max_accuracy_drop`; the reference is quantization-aware, and an output
    is further from it than `max_qat_error_lsb`; the file does not run on the data, or ends the process that runs it.

    Example:

    ```python
    result = tfopt.check("model.tflite", reference=model, data=x_test, labels=y_test)
    print(result)  # the table of the command line
    worst = tfopt.check("model.tflite", reference=model, data=x_test, layers=True).layers[0]
    print(worst.name, worst.sqnr)
    ```

    Args:
        tflite: path or bytes of a TFLite file.
        reference: Keras model, or path of a model that `load` reads, or path or bytes of another TFLite file. Default: only the
            structure is checked.
        data: anything that `open_samples.open_samples` takes; it may hold labels itself. Required with a reference or labels.
        labels: class ids (n,), one-hot rows (n, classes), or path of a `.npy` file with them.
        max_accuracy_drop: fraction of accuracy that may be lost, >= 0 (0.01 is one point).
        min_sqnr: SQNR that every output must reach, in dB: see `output_errors.OutputNumbers`. Of an output of integers, such as an
            argmax or a mask, the share `1 - 10^(-min_sqnr / 20)` must be equal instead, 0.9 for 20 dB.
        max_qat_error_lsb: steps of an int8 output, >= 0, by which 99.9 % of its values may differ from a quantization-aware
            reference. Default: by kind of network, see `quantization_aware.ERROR_LIMITS`.
        layers: whether the outputs of the layers are compared, too, on up to 64 samples spread over the data, and known causes of
            error are looked for. The reference must then be the Keras model that the file was made of.
        threads: threads of the TFLite interpreter, >= 1.
        scale: the range that the pixels of a folder of images are brought to.
        custom_objects, architecture, allow_unsafe: as for `load`, if `reference` is a path.
        allow_large: whether the content of a file, also of data, may take any memory: see `load`.
        verbose: whether a progress bar is drawn on a terminal or in a notebook.

    Returns:
        The verdict and what it rests on. A bad file does not raise; its `passed` is False.

    Raises:
        LoadError: the file or the reference cannot be read.
        DataError: the data are missing or damaged, or do not fit the file or the reference.
        ArgumentError: an argument has a value that cannot be used.
        ConversionError: the reference does not run on the inputs of the file, or the runtime lacks an op of the file.
    """
    request = CheckRequest(
        tflite=tflite,
        reference=reference,
        data=data,
        labels=labels,
        layers=layers,
        settings=CheckSettings(
            max_accuracy_drop=max_accuracy_drop,
            min_sqnr=min_sqnr,
            max_qat_error_lsb=max_qat_error_lsb,
            threads=threads,
            scale=scale,
        ),
        loading=LoadOptions(
            custom_objects=custom_objects, architecture=architecture, allow_unsafe=allow_unsafe, allow_large=allow_large
        ),
    )
    with progress_bar(verbose) as progress:
        return _run(request, progress)


def check_file(request: str, progress: Progress) -> dict[str, Any]:
    """Checks a file in this process, which the command line starts as a child.

    Args:
        request: a `CheckRequest` as JSON.
        progress: called with {"stage", "done", "total"}.

    Returns:
        The result as JSON types, as in the report of a conversion.
    """
    result = _run(CheckRequest.from_json(request), progress)
    return report.to_dict(result) | {"accuracy_drop": result.accuracy_drop}


def _run(request: CheckRequest, progress: Progress) -> CheckResult:
    progress({"stage": "check"})
    threads = request.settings.threads
    allow_large = request.loading.allow_large
    interpreter = Interpreter(request.tflite, threads=threads, probe=True, allow_large=allow_large)
    opened = reference_side.open_reference(request.reference, request.loading, threads)
    loaded = opened if isinstance(opened, Loaded) else None
    if request.layers and loaded is None:
        received = "no reference" if opened is None else "a TFLite file"
        raise ArgumentError(
            f"Layers are compared with the Keras model that the file was made of. Received: {received}. "
            "Give it with --reference MODEL (Python: reference=model)."
        )
    run, bound, limit = None, None, None
    names: tuple[str, ...] = ()
    scopes = NO_SCOPES
    if loaded is not None:
        names_of_model = signature.output_names(loaded.model) or ()
        reference = heads.as_in_file(loaded.model, names_of_model, interpreter.output_names)
        bound = reference_side.bind_keras(reference, interpreter)
        run, names = reference_side.run_keras(bound, interpreter), tuple(short_names(bound.model).values())
        scopes = bound.traced.scopes
        limit = quantization_aware.error_limit(bound.model, interpreter, request.settings.max_qat_error_lsb)
    elif isinstance(opened, Interpreter):
        run = reference_side.run_tflite(opened, interpreter)
    samples = None
    if request.data is not None:
        specs = reference_side.interpreter_specs(interpreter)
        samples = open_samples(request.data, specs, labels=request.labels, scale=request.settings.scale, allow_large=allow_large)
    file = FileUnderTest(interpreter=interpreter, samples=samples, origin="the given data", layer_names=names, scopes=scopes)
    first = None
    try:
        if samples is not None and not samples.endless:
            first, _ = next(batches(interpreter, enumerate(samples.read())))
            require_runnable(request.tflite, list(first.values()), allow_large=allow_large)
    except RunError as error:
        return does_not_run(file, error)
    result = compare(file, run, request.settings, progress, limit)
    if loaded is not None and bound is not None:
        _, steps = loaded.verified(bound.batch_of_model(first) if first else None)
        result = dataclasses.replace(result, notes=(*(f"the reference: {step}" for step in steps), *result.notes))
    # A file that does not run has no outputs to compare.
    if not request.layers or samples is None or bound is None or not result.outputs:
        return result
    observed = Interpreter(request.tflite, threads=threads, keep_all=True, probe=True, allow_large=allow_large)
    given = samples
    progress({"stage": "compare layers"})
    numbers, causes = examine(observed, bound, lambda count: spread_batches(observed, given, count), result.structure.float_ops)
    return dataclasses.replace(result, layers=numbers, causes=causes)
