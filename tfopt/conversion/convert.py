"""`convert()`: load -> draw representative data -> trace -> convert -> check -> benchmark -> report."""

import concurrent.futures
import dataclasses
import functools
import itertools
import pathlib
import tempfile

import numpy as np

from tfopt import files, isolation
from tfopt.checking import benchmark as timing
from tfopt.checking import check
from tfopt.conversion import export, trained_ranges
from tfopt.conversion.result import ConversionResult
from tfopt.conversion.settings import Settings
from tfopt.conversion.traced_model import prepare
from tfopt.data.open_samples import open_samples
from tfopt.errors import ArgumentError
from tfopt.keras_model.describe import crash_suspects
from tfopt.loading import float32
from tfopt.loading.load import load_with_steps
from tfopt.loading.options import LoadOptions
from tfopt.lowering import lower
from tfopt.lowering.trace import trace_model
from tfopt.ptq import headroom
from tfopt.tflite.interpreter import Interpreter


def convert(
    model_or_path,
    *,
    representative_data=None,
    validation_data=None,
    float_model=None,
    quantization="int8",
    io="int8",
    ptq="default",
    skip_lowering=(),
    allow_float=False,
    batch_size=1,
    input_shapes=None,
    samples=200,
    seed=0,
    scale=None,
    custom_objects=None,
    architecture=None,
    allow_unsafe=False,
    max_accuracy_drop=0.01,
    min_sqnr=20.0,
    threads=1,
    runs=50,
    timeout=1800,
):
    """Converts a Keras model to TFLite, checks the file against the model and times it against its float32 twin.

    The converter runs in a child process: if the model crashes it, you get a `ConversionError`, and your process lives on.

    Example:

    ```python
    result = tfopt.convert(model, representative_data=x_train, validation_data=(x_test, y_test))
    print(result.check.passed, result.check.accuracy, result.benchmark.speedup)
    result.save("model.tflite")
    ```

    Args:
        model_or_path: Keras 3 or Keras 2 (`tf_keras`) model, or the path of one that `load` reads.
        representative_data: what the ranges of int8 and int16x8 come from (the other kinds need none): anything that
            `samples.open_samples` takes, such as an array (n, ...), a `tf.data.Dataset` or a path; labels in it are dropped.
            "synthetic" stands for random numbers, and the report then says that the file is uncalibrated.
        validation_data: what the check runs on: as above, or (data, labels). Without, the representative data.
        float_model: None or, for a quantization-aware model, the Keras model that it was made of: the check then tells the
            distance to it as well. The file answers for the quantization-aware model.
        quantization: "int8" (weights and activations), "int16x8" (int16 activations, int8 weights), "dynamic" (int8 weights
            only), "float16" (weights only), "float32".
        io: "int8", "uint8" or "float32", the dtype of the file's inputs and outputs (int16 instead of int8 for int16x8; float32
            for the kinds without integer activations).
        ptq: "default" or "best": how int8 is reached without training. "best" takes several times as long; it equalizes channels,
            corrects biases and chooses ranges, and keeps what the representative data show to be better: see `post_training`.
        skip_lowering: names of rewritings (`lower.RULES`, `rewrite.EDITS`) that are left out, or ("all",). A rewriting keeps the
            float outputs and lets layers stay int8, or run faster; the report lists the layers that it touched. With
            "wider_ranges" the ranges of small models are those of the values that were seen, and no more: see `wider_ranges`.
        allow_float: bool, whether ops without an int8 kernel may stay float in an int8 file; they are listed in the check's notes.
        batch_size: int >= 1, samples a run, fixed in the file.
        input_shapes: None or dict of input name -> shape with batch, where the model leaves sizes open; else the data tell.
        samples: int >= 1, how many representative samples are drawn.
        seed: int, of that draw.
        scale: "0..1", "-1..1" or "0..255", for folders of images.
        custom_objects, architecture, allow_unsafe: as for `load`, if a path is given.
        max_accuracy_drop: float >= 0, fraction of accuracy that may be lost.
        min_sqnr: float, dB that every output must reach: see `check.OutputNumbers`.
        threads: int >= 1, of the interpreter in check and benchmark.
        runs: int >= 1, timed runs in the benchmark.
        timeout: float, seconds that the converter may take.

    Returns:
        `ConversionResult`. A failed check does not raise: see `.check.passed`, `.check.reasons`.

    Raises:
        ArgumentError, DataError, LoadError: something that was given cannot be used.
        ConversionError: the converter refused the model, crashed, hung, or ran out of memory.
    """
    names = skip_lowering if isinstance(skip_lowering, str) else tuple(skip_lowering)
    settings = Settings(
        quantization=quantization, io=io, ptq=ptq, skip_lowering=names, allow_float=allow_float, batch_size=batch_size,
        input_shapes=input_shapes, samples=samples, seed=seed, scale=scale, max_accuracy_drop=max_accuracy_drop,
        min_sqnr=min_sqnr, threads=threads, runs=runs, timeout=timeout,
    )  # fmt: skip
    with isolation.Child(preload="tensorflow") as child:
        return _convert(
            model_or_path, representative_data, validation_data, settings, custom_objects, architecture, allow_unsafe,
            functools.partial(export_in_child, child, timeout), float_model=float_model,
        )  # fmt: skip


def convert_file(request, progress):
    """The same for files only, in this process, which the command line starts as a child.

    Args:
        request: dict with "model", "calibrate", "validate", "labels" (paths or None), "custom_objects", "architecture",
            "allow_unsafe", "name" (of the file to be), "settings" (arguments of `Settings`) and "staging" (path that the bytes
            are written to).
        progress: called with dicts: {"stage", "done", "total"}, {"suspects"}.

    Returns:
        The report, as `ConversionResult.report` makes it.
    """
    settings = request["settings"]
    shapes = settings["input_shapes"]
    settings = Settings(**{**settings, "input_shapes": {name: tuple(shape) for name, shape in shapes.items()} if shapes else None})
    validation = request["validate"]
    if validation is None and request["labels"] is not None:
        raise ArgumentError("`--labels` are those of the validation data. Received: none of these. Give them with --validate.")
    if validation is not None and request["labels"] is not None:
        validation = (validation, request["labels"])
    result = _convert(
        request["model"], request["calibrate"], validation, settings, request["custom_objects"], request.get("architecture"),
        request["allow_unsafe"], _export_here, progress,
    )  # fmt: skip
    files.write({request["staging"]: result.tflite})
    return result.report(request["name"])


def _convert(
    model,
    representative_data,
    validation_data,
    settings,
    custom_objects,
    architecture,
    allow_unsafe,
    exporter,
    progress=None,
    float_model=None,
):
    progress = progress or (lambda report: None)
    source, steps = {"name": "a model in memory", "sha256": None}, ()
    if isinstance(model, (str, pathlib.Path)):
        progress({"stage": "load"})
        source = {"name": pathlib.Path(model).name, "sha256": files.sha256(model)}
        model, steps = load_with_steps(
            model, LoadOptions(custom_objects=custom_objects, architecture=architecture, allow_unsafe=allow_unsafe)
        )
    elif not hasattr(model, "layers") or not callable(model):
        raise ArgumentError(f"A Keras model or the path of one is required. Received: {type(model).__name__}.")
    elif float32.low_precision_layers(model):
        model, steps = float32.as_float32(model), ("the model was rebuilt under float32: layers computed in float16 or bfloat16",)
    prepared = prepare(model, representative_data, validation_data, settings, float_model, progress)
    is_trained, layers, lowering = prepared.is_trained, prepared.layers, prepared.lowering
    specs, validation, drawn, traced = prepared.specs, prepared.validation, prepared.drawn, prepared.traced
    notes = [*steps, *prepared.notes]
    as_given = [dataclasses.replace(spec, dtype=was.dtype) for spec, was in zip(specs, prepared.own_specs, strict=True)]
    # The file answers for the model as it was.
    reference = trace_model(model, as_given) if lowering.touched or is_trained else traced
    wanted = {"converted": (settings.quantization, settings.io, settings.ptq)}
    if settings.quantization != "float32":
        wanted = {"float32": ("float32", "float32", "default"), **wanted}
    jobs = [(traced, wanted)]
    if is_trained:
        twin = trained_ranges.float_twin(model)
        in_float = trace_model(twin, specs, lower.plan(twin, skip=settings.skip_lowering))
        jobs = [(in_float, {"float32": wanted.pop("float32")}), *jobs]
    converted, packed = {}, {}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        rewritten = {}
        made_files = (exporter(*job, drawn, settings.skip_lowering, crash_suspects(layers), progress) for job in jobs)
        for name, content, made in itertools.chain.from_iterable(made_files):
            converted[name] = content
            notes += made["notes"]
            if name == "converted":
                rewritten = made["edits"]
            # Packing a large file takes seconds, in which zlib leaves the other core to the converter.
            packed[content] = pool.submit(timing.packed_size, content)
        progress({"stage": "check"})
        on, described = _check_data(validation, drawn, specs)
        interpreter = Interpreter(converted["converted"], threads=settings.threads)
        names = [layer.name for layer in layers]
        if drawn is None and is_trained and not settings.allow_float:
            trained_ranges.require_covered(interpreter, names)
        compare = functools.partial(
            check.compare, interpreter, samples=on, data=described, layer_names=names, min_sqnr=settings.min_sqnr,
            max_accuracy_drop=settings.max_accuracy_drop, quantization=settings.quantization,
            allow_float=settings.allow_float, progress=progress,
        )  # fmt: skip
        verdict = compare(reference)
        float_verdict = None if float_model is None else compare(trace_model(float_model, as_given))
        progress({"stage": "benchmark"})
        measured = timing.benchmark(
            converted["converted"], against=converted.get("float32"), threads=settings.threads, runs=settings.runs,
            gzip_bytes=lambda content: packed[content].result(), progress=progress,
        )  # fmt: skip
    if measured.speedup is not None and measured.speedup < 0.95:  # what is left of 1 is noise
        notes.append(f"the file is slower than its float32 twin on this CPU: {measured.speedup:.2f}x")
    if any(sign in reason for reason in verdict.reasons for sign in ("SQNR", "exceeds what", "accuracy drops")):
        notes.append(
            "`tfopt check FILE --reference MODEL --data DATA --layers` tells which layers err and why; --keep-failed keeps FILE"
        )
    origin = f"{drawn.count} samples from {drawn.source}, seed {settings.seed}" if drawn else "none was needed"
    return ConversionResult(
        converted["converted"], verdict, measured, settings, source, origin, lowering.touched, rewritten, tuple(notes),
        float_verdict,
    )  # fmt: skip


def _check_data(validation, drawn, specs):
    """(samples or None, what they are): validation data where there are some, else what was calibrated with."""
    if validation is not None:
        return validation, f"validation data ({validation.source})"
    if drawn is not None:
        return open_samples(drawn.arrays, specs), "the representative data, as no validation data were given"
    return None, "none"


def _export_here(traced, wanted, drawn, skip_lowering, suspects, progress):
    """Yields (name, bytes, {"edits", "notes"}) of each wanted file, made in this process."""
    samples = drawn and drawn.arrays
    for name, (quantization, io, ptq) in wanted.items():
        progress({"stage": f"convert to {quantization}"})
        exported = export.to_tflite(
            traced, quantization, io=io, ptq=ptq, samples=samples, skip_lowering=skip_lowering, progress=progress
        )
        yield name, exported.content, {"edits": exported.edits, "notes": exported.notes}


def export_in_child(child, timeout, traced, wanted, drawn, skip_lowering, suspects, progress):
    """The same, made in a child process."""
    with tempfile.TemporaryDirectory(prefix="tfopt-") as folder:
        folder = pathlib.Path(folder)
        export.save_traced(traced, folder)
        if drawn:
            arrays = {f"input_{index}": drawn.arrays[spec.name] for index, spec in enumerate(traced.inputs)}
            np.savez(folder / "samples.npz", **arrays)
        request = {
            "folder": str(folder),
            "inputs": [[spec.name, spec.shape, spec.dtype] for spec in traced.inputs],
            "output_names": traced.output_names,
            "keeps_functions": traced.keeps_functions,
            "is_small": headroom.fits(traced.function),
            "skip_lowering": skip_lowering,
            "files": wanted,
        }
        made = child.call("tfopt.conversion.export:convert_saved", request, timeout=timeout, progress=progress, suspects=suspects)
        for name in wanted:
            yield name, (folder / name).read_bytes(), made[name]
