"""The way of a model through a conversion: load, trace, export, check, time."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import itertools
import os
import pathlib
from typing import TYPE_CHECKING

from tfopt import files
from tfopt.checking import benchmark as timing
from tfopt.checking.benchmark import BenchmarkResult
from tfopt.checking.comparison import FileUnderTest, compare
from tfopt.checking.result import CheckResult
from tfopt.checking.settings import BenchmarkSettings
from tfopt.conversion import lossy_layers
from tfopt.conversion.export import Exported, Variant
from tfopt.conversion.export_job import Exporter, ExportJob
from tfopt.conversion.result import ConversionResult
from tfopt.conversion.settings import CALIBRATED, ConversionRequest, Settings
from tfopt.conversion.traced_model import TracedModel, trace_with_data
from tfopt.data import signature
from tfopt.data.scaling_notes import Range
from tfopt.errors import ArgumentError, ConversionError
from tfopt.keras_model.outputs import heads
from tfopt.loading import float32
from tfopt.loading.dequantize import dequantized
from tfopt.loading.load import Loaded, load_file
from tfopt.lowering import lower, quantization_aware
from tfopt.lowering.trace import Traced, trace_model
from tfopt.progress import Progress
from tfopt.tflite.interpreter import Interpreter

if TYPE_CHECKING:
    import keras

# Names of the files of a conversion.
_CONVERTED, _FLOAT = "converted", "float32"


def run(request: ConversionRequest, exporter: Exporter, progress: Progress) -> ConversionResult:
    """Converts, checks and times, with the files made by `exporter`."""
    loaded, source = _open_model(request, progress)
    model, ends = _with_ends(loaded.model, request.settings)
    traced = trace_with_data(model, request, progress)
    _, steps = loaded.verified(traced.first_rows())
    # The file is checked against the model as it was given.
    is_rewritten = bool(traced.lowering.touched) or traced.is_trained
    reference = trace_model(model, traced.given_specs) if is_rewritten else traced.traced
    notes = [*steps, *ends, *traced.notes]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        made, packed = {}, {}
        jobs = _jobs(model, traced, request.settings)
        alone = _by_training_alone(jobs[-1], traced, exporter, progress)
        for name, exported in itertools.chain(alone, *(exporter(job, progress) for job in (jobs[:-1] if alone else jobs))):
            made[name] = exported
            notes += exported.notes
            # Packing a large file takes seconds, in which zlib leaves the other core to the converter.
            packed[exported.content] = pool.submit(timing.packed_size, exported.content)
        verdict, float_verdict = _check(made[_CONVERTED].content, traced, (model, reference), request, progress)
        if lossy_layers.is_lossy(verdict, request.settings) and not traced.is_trained:

            def convert_again(float_layers: tuple[str, ...]) -> tuple[Exported, CheckResult]:
                variant = dataclasses.replace(jobs[-1].variants[_CONVERTED], float_layers=float_layers, ptq="default")
                ((_, exported),) = exporter(dataclasses.replace(jobs[-1], variants={_CONVERTED: variant}), progress)
                return exported, _check(exported.content, traced, (model, reference), request, progress)[0]

            start = lossy_layers.Checked(made[_CONVERTED], verdict)
            found = lossy_layers.mend(start, model, traced.samples_to_check()[0], request.settings, convert_again)
            made[_CONVERTED], verdict = found.exported, found.verdict
            packed[found.exported.content] = pool.submit(timing.packed_size, found.exported.content)
        contents = [made[name].content for name in (_CONVERTED, _FLOAT) if name in made]
        measured = timing.measure(
            contents,
            BenchmarkSettings(threads=request.settings.threads, runs=request.settings.runs),
            inputs=[functools.partial(timing.first_batch, samples=traced.samples_to_check()[0])] * len(contents),
            packed_size=lambda content: packed[content].result(),
            progress=progress,
        )
    notes += [*_missing_data(traced, verdict, request.settings), *_advice(measured)]
    drawn = traced.drawn
    origin = (
        f"{drawn.count} samples from {drawn.source}, seed {request.settings.seed}"
        if drawn and not alone
        else "none needed: the ranges come from training"
        if traced.is_trained
        else "none needed"
    )
    return ConversionResult(
        made[_CONVERTED].content, verdict, measured, request.settings, source, origin, traced.lowering.touched,
        made[_CONVERTED].edits, tuple(notes), float_verdict, traced.is_trained,
    )  # fmt: skip


def _by_training_alone(job: ExportJob, traced: TracedModel, exporter: Exporter, progress: Progress) -> list[tuple[str, Exported]]:
    """The file of a quantization-aware model without representative data, if training has given it all ranges; else nothing.

    Data would give ranges to tensors inside of what the model rounds once, such as the root of a variance: more roundings than the
    model has.
    """
    if not (traced.is_trained and traced.drawn and job.variants[_CONVERTED].quantization in CALIBRATED):
        return []
    try:
        made = list(exporter(dataclasses.replace(job, samples=None), progress))
    except ConversionError:  # with data, the converter may do without a range that it misses
        return []
    ((_, exported),) = made
    interpreter = Interpreter(exported.content, allow_large=True)
    return made if quantization_aware.covers(interpreter, traced.layer_names, traced.traced.scopes) else []


def _open_model(request: ConversionRequest, progress: Progress) -> tuple[Loaded, dict[str, str | None]]:
    """(model in float32 with the notes of how it was loaded, its source for the report)."""
    model, in_memory = request.model, {"name": "a model in memory", "sha256": None}
    if isinstance(model, (str, os.PathLike)):
        progress({"stage": "load"})
        source = {"name": pathlib.Path(model).name, "sha256": files.sha256(model)}
        return load_file(model, request.loading), source
    if not hasattr(model, "layers") or not callable(model):
        raise ArgumentError(f"A Keras model or the path of one is required. Received: {type(model).__name__}.")
    model, note = dequantized(model)
    notes = [note] if note else []
    if float32.low_precision_layers(model):
        notes.append("the model was rebuilt under float32: layers computed in float16 or bfloat16")
        model = float32.as_float32(model)
    return Loaded(model, tuple(notes)), in_memory


def _with_ends(model: keras.Model, settings: Settings) -> tuple[keras.Model, list[str]]:
    """(model with the outputs that were asked for, notes of what changed)."""
    notes: list[str] = []
    for is_wanted, name, change in (
        (settings.split_outputs, "split_outputs", heads.split_concatenations),
        (settings.logits, "logits", heads.without_last_activation),
    ):
        if is_wanted and quantization_aware.is_quantization_aware(model):
            raise ArgumentError(
                f"`{name}` needs a plain model. Received: a quantization-aware one. Build the model with these outputs before "
                "tfopt.quantize_aware."
            )
        if is_wanted:
            model, changed = change(model, signature.output_names(model) or ())
            notes += changed
    return model, notes


def _jobs(model: keras.Model, traced: TracedModel, settings: Settings) -> list[ExportJob]:
    """The file that was asked for and its float32 twin; that of a quantization-aware model is made of its plain form."""
    variants = {_CONVERTED: Variant(settings.quantization, settings.io, settings.ptq)}
    twin = {} if settings.quantization == "float32" else {_FLOAT: Variant("float32", "float32")}
    samples = traced.drawn.arrays if traced.drawn else None
    job = ExportJob(
        traced=traced.traced, variants=twin | variants, samples=samples, skip_lowering=settings.skip_lowering,
        suspects=traced.suspects,
    )  # fmt: skip
    if not traced.is_trained:
        return [job]
    plain = quantization_aware.float_twin(model)
    in_float = trace_model(plain, traced.specs, lower.plan(plain, skip=settings.skip_lowering))
    return [dataclasses.replace(job, traced=in_float, variants=twin), dataclasses.replace(job, variants=variants)]


def _check(
    content: bytes,
    traced: TracedModel,
    reference: tuple[keras.Model, Traced],
    request: ConversionRequest,
    progress: Progress,
) -> tuple[CheckResult, CheckResult | None]:
    """(verdict against the model, None or that against the float model of a quantization-aware one)."""
    progress({"stage": "check"})
    settings = request.settings
    samples, origin = traced.samples_to_check()
    file = FileUnderTest(
        interpreter=Interpreter(content, threads=settings.threads, allow_large=request.loading.allow_large),
        samples=samples,
        origin=origin,
        layer_names=traced.layer_names,
        scopes=traced.traced.scopes,
        quantization=settings.quantization,
        allow_float=settings.allow_float,
        calibrated=_calibrated(traced, settings) if traced.validation is not None else {},
    )
    if traced.drawn is None and traced.is_trained and not settings.allow_float:
        quantization_aware.require_covered(file.interpreter, file.layer_names, file.scopes)
    model, run = reference
    limit = quantization_aware.error_limit(model, file.interpreter, settings.max_qat_error_lsb)
    verdict = compare(file, run, settings, progress, limit)
    if request.float_model is None:
        return verdict, None
    return verdict, compare(file, trace_model(request.float_model, traced.given_specs), settings, progress)


def _calibrated(traced: TracedModel, settings: Settings) -> dict[str, Range]:
    """Range of each float input in the data that the file is calibrated with; {} if nothing is calibrated."""
    return traced.drawn.ranges if traced.drawn and settings.quantization in CALIBRATED else {}


def _missing_data(traced: TracedModel, verdict: CheckResult, settings: Settings) -> list[str]:
    """What the check could not see for lack of data."""
    notes = []
    if traced.validation is None and _calibrated(traced, settings):
        notes.append(
            "the file was compared on the representative data alone: a wrong scale of these data cannot be seen. Give validation "
            "data with --validate DATA (Python: validation_data=...)"
        )
    has_classes = any(output.agreement is not None for output in verdict.outputs)
    if traced.validation is not None and not traced.validation.labeled and has_classes:
        notes.append("the validation data have no labels: no accuracy was measured")
    return notes


def _advice(measured: BenchmarkResult) -> list[str]:
    advice = []
    if measured.speedup is not None and measured.speedup < 0.95:  # within 5 % of 1 the difference is noise
        advice.append(f"the file is slower than its float32 twin on this CPU: {measured.speedup:.2f}x")
    return advice
