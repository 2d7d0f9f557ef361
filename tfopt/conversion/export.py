"""A traced model becomes TFLite bytes by TensorFlow's converter."""

import dataclasses
import functools
import pathlib
import re

import numpy as np

from tfopt.conversion.settings import io_dtype
from tfopt.data import signature
from tfopt.errors import ConversionError, OutputError
from tfopt.lowering import lower
from tfopt.lowering.trace import Traced
from tfopt.ptq import headroom, observe, quantizer, search
from tfopt.tflite.edits import apply_edits
from tfopt.tflite.signature import attach_signature, in_order


@dataclasses.dataclass(frozen=True)
class Exported:
    """A TFLite file as it came out of the converter and was mended.

    Attributes:
        content: bytes.
        edits: dict of edit -> int, places that `rewrite` changed.
        notes: tuple of str, what was done beyond the default, and what it brought.
    """

    content: bytes
    edits: dict
    notes: tuple


def to_tflite(traced, quantization, *, io="int8", samples=None, ptq="default", skip_lowering=(), is_small=None, progress=None):
    """Converts a traced model, in this process.

    Args:
        traced: a `Traced`.
        quantization: one of `QUANTIZATIONS`.
        io: "int8", "uint8" or "float32": dtype of the inputs and outputs of an int8 file. int16x8 has int16 instead of the
            first; the other kinds always have float32. Integer inputs such as token ids keep their dtype.
        samples: dict of input name -> array (n, ...) to calibrate with; needed for int8 and int16x8, unless the model has ranges.
        ptq: one of `post_training.MODES`; "best" chooses among several int8 files by measurement: see `post_training.best`.
        skip_lowering: names of edits of `rewrite` that are left out, or `wider_ranges.NAME`.
        is_small: bool, `headroom.fits` of the model; None if `traced` is still the model itself, which can tell.
        progress: None or a function that is called with {"stage", "done", "total"}.

    Returns:
        `Exported`: bytes of a TFLite model with builtin ops only, and how it came about.

    Raises:
        ConversionError: the converter refuses the model; names the ops and layers where it tells them.
    """
    names = [spec.name for spec in traced.inputs]
    converter = functools.partial(_converter, traced, quantization, io)
    widens = quantization == "int8" and samples is not None
    widens = widens and (headroom.fits(traced.function) if is_small is None else is_small)
    widen = headroom.widen if widens and not {headroom.NAME, lower.ALL} & set(skip_lowering) else None
    try:
        batches = observe.as_batches([samples[name] for name in names], traced.inputs[0].shape[0]) if widen else None
        content, notes = _converted(converter(samples), batches, widen)
    except Exception as error:  # MLIR diagnostics arrive as several undocumented types
        raise ConversionError(_explain(str(error), quantization)) from error
    if ptq == "best":

        def in_default(calibrated, batches):
            return widen(calibrated, batches)[0] if widen else calibrated

        default = content
        content, done = search.best(default, converter, names, samples, in_default=in_default, progress=progress)
        notes = done + notes if content is default else done
    content, edits = apply_edits(content, skip=skip_lowering)
    return Exported(attach_signature(content, names, traced.output_names), edits, notes)


def _converted(converter, batches, widen):
    """(bytes, notes) of what a converter makes, with the ranges that `widen` makes of its own if there is one."""
    if widen:
        calibrated = quantizer.calibrate(converter)
        content, notes = widen(calibrated, batches)
        return quantizer.quantize(content, converter.inference_input_type, converter.inference_output_type), notes
    return in_order(converter.convert()), ()


def _converter(traced, quantization, io, samples):
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.function], traced.module)
    # The way through a SavedModel costs 3 times as long and loses nothing but names, which `attach_signature` gives back.
    converter.experimental_lower_to_saved_model = traced.keeps_functions
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantization != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantization in ("int8", "int16x8"):
        # Float builtins stay allowed, so that one op without an integer kernel is named by the check instead of failing here.
        integer = tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        if quantization == "int16x8":
            integer = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        if samples is not None:
            converter.target_spec.supported_ops = [integer, tf.lite.OpsSet.TFLITE_BUILTINS]
            converter.representative_dataset = lambda: _batches(traced.inputs, samples, by_name=traced.keeps_functions)
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(io_dtype(quantization, io))
    return converter


def save_traced(traced, folder):
    """Writes a traced model as a SavedModel, for another process to convert; raises `OutputError` if there is no room."""
    import tensorflow as tf

    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # it would tell of a temporary folder that is none of the user's business
    try:
        tf.saved_model.save(traced.module, str(folder))
    except (OSError, tf.errors.OpError) as error:
        raise OutputError(
            f"The temporary folder must have room for the model. Received: {folder} ({error}). Set TMPDIR to another one."
        ) from error
    finally:
        logger.setLevel(level)


def convert_saved(request, progress):
    """Converts a SavedModel that `save_traced` wrote; what the child process of `convert()` runs.

    Args:
        request: dict with "folder" (of the SavedModel and, as `samples.npz`, the calibration data), "inputs" (a list of
            [name, shape, dtype]), "output_names", "keeps_functions", "is_small", "skip_lowering", and "files":
            {file name: [quantization, io, ptq]} to write beside it.
        progress: called with {"stage": ...} before each file.

    Returns:
        dict of file name -> {"edits", "notes"} of its `Exported`.
    """
    import tensorflow as tf

    folder = pathlib.Path(request["folder"])
    progress({"stage": "read the traced model"})
    loaded = tf.saved_model.load(str(folder))
    inputs = [signature.TensorSpec(name, tuple(shape), dtype) for name, shape, dtype in request["inputs"]]
    function = loaded.serve.get_concrete_function()
    traced = Traced(function, loaded, inputs, request["output_names"], request["keeps_functions"])
    samples = None
    if (folder / "samples.npz").exists():
        with np.load(folder / "samples.npz") as archive:
            samples = {spec.name: archive[f"input_{index}"] for index, spec in enumerate(inputs)}
    made = {}
    for name, (quantization, io, ptq) in request["files"].items():
        progress({"stage": f"convert to {quantization}"})
        exported = to_tflite(
            traced, quantization, io=io, samples=samples, ptq=ptq, skip_lowering=request["skip_lowering"],
            is_small=request["is_small"], progress=progress,
        )  # fmt: skip
        (folder / name).write_bytes(exported.content)
        made[name] = {"edits": exported.edits, "notes": exported.notes}
    return made


def _batches(inputs, samples, by_name):
    # The road through a SavedModel shuffles the inputs, and then takes them by name.
    for batch in observe.each_batch([samples[spec.name] for spec in inputs], inputs[0].shape[0]):
        yield {f"input_{index}": array for index, array in enumerate(batch)} if by_name else batch


def _explain(message, quantization):
    ops = sorted(set(re.findall(r"\btf\.(\w+)", message)) - {"entry_function"})
    places = sorted(set(re.findall(r'"([\w./ -]+/[\w./ -]+)"', message)) - {""})
    if "Flex ops" in message or "custom op" in message or "is neither a custom op nor a flex op" in message:
        where = f" in {', '.join(_layer_of(place) for place in places[:5])}" if places else ""
        return (
            f"Every op of the model must be a TFLite builtin. Received: {', '.join(f'tf.{op}' for op in ops) or 'others'}{where}. "
            "Replace these layers by ones made of simpler operations, or move them out of the model."
        )
    lines = [line for line in message.splitlines() if "error:" in line] or message.splitlines()[:1]
    return (
        f"The converter must be able to express the model in {quantization}. Received: {' | '.join(lines)[:600]}. "
        "Try another quantization, or replace the layer that is named."
    )


def _layer_of(place):
    parts = [part for part in place.split("/") if part]
    return parts[-2] if len(parts) > 1 else place
