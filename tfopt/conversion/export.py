"""A Keras model becomes TFLite bytes: trace one function of fixed shapes, then hand it to TensorFlow's converter."""

import dataclasses
import functools
import pathlib
import re

import numpy as np

from tfopt.conversion import activations, flatbuffer, lower, post_training, quantizer, rewrite, signature, wider_ranges
from tfopt.errors import ArgumentError, ConversionError, OutputError, TfoptError

QUANTIZATIONS = ("int8", "int16x8", "dynamic", "float16", "float32")
IO_DTYPES = ("int8", "uint8", "float32")


@dataclasses.dataclass(frozen=True)
class Traced:
    """A model as one TensorFlow function of fixed shapes.

    Attributes:
        function: `tf.types.experimental.ConcreteFunction`: the inputs in, a list of the outputs out, both in the model's order.
        module: the `tf.Module` that holds its variables; the function dies without it.
        inputs: list of `signature.TensorSpec`.
        output_names: list of str in the model's order.
        keeps_functions: bool, whether the converter must see functions whole: see `lower.Lowering`.
        is_small: bool, see `wider_ranges.fits`.
    """

    function: object
    module: object
    inputs: list
    output_names: list
    keeps_functions: bool = False
    is_small: bool = False

    def __call__(self, arrays):
        """Runs the function on one batch ({name: array}) and returns the outputs as a list of arrays."""
        import tensorflow as tf

        outputs = self.function(*(tf.constant(np.asarray(arrays[spec.name]).astype(spec.dtype)) for spec in self.inputs))
        return [output.numpy() for output in outputs]


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


def trace(model, inputs, lowering=lower.NOTHING):
    """Traces `model` for inference.

    Args:
        model: a Keras 3 or Keras 2 model.
        inputs: list of `signature.TensorSpec` without open sizes.
        lowering: `lower.Lowering`, how its layers are rewritten.

    Returns:
        A `Traced`.

    Raises:
        ConversionError: the model does not run on such inputs.
    """
    import tensorflow as tf

    names = []

    class Served(tf.Module):
        def __init__(self):
            super().__init__()
            self.serve = tf.function(self._serve, input_signature=signatures, autograph=False)

        def _serve(self, *tensors):
            with lowering.active():  # here, as TensorFlow traces again when it saves
                outputs = tf.nest.flatten(model(_pack(model, inputs, list(tensors)), training=False))
            names[:] = signature.output_names(model) or [f"output_{index}" for index in range(len(outputs))]
            # A list, as TensorFlow would sort a dict by name and lose the model's order.
            return [tf.identity(output) for output in outputs]

    # TensorFlow refuses some names that Keras allows; `attach_signature` puts the right ones into the file.
    signatures = [tf.TensorSpec(spec.shape, spec.dtype, name=f"input_{index}") for index, spec in enumerate(inputs)]
    module = Served()
    try:
        function = module.serve.get_concrete_function()
    except TfoptError:
        raise
    except Exception as error:  # whatever the model's own code raises
        text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())
        raise ConversionError(
            f"The model must run on the inputs {', '.join(map(str, inputs))}. Received: {type(error).__name__}: {text[:600]}. "
            "Call it on such an input to see where it fails."
        ) from error
    module.held = list(function.variables)  # a module saves what hangs on it, and Keras 3 variables do not by themselves
    module.layers = lowering.keeps
    return Traced(function, module, list(inputs), list(names), lowering.keeps_functions, wider_ranges.fits(function))


def float_ids(traced):
    """Names of float inputs that the model takes as integers, as ids of old Keras 2 files: int8 could not tell them apart.

    Args:
        traced: a `Traced`.
    """
    return [
        spec.name
        for spec, tensor in zip(traced.inputs, traced.function.inputs, strict=False)
        if spec.dtype == "float32"
        and tensor.consumers()
        and all(each.type == "Cast" and each.outputs[0].dtype.is_integer for each in tensor.consumers())
    ]


def to_tflite(traced, quantization, *, io="int8", samples=None, ptq="default", skip_lowering=(), progress=None):
    """Converts a traced model, in this process.

    Args:
        traced: a `Traced`.
        quantization: one of `QUANTIZATIONS`.
        io: "int8", "uint8" or "float32": dtype of the inputs and outputs of an int8 file. int16x8 has int16 instead of the
            first; the other kinds always have float32. Integer inputs such as token ids keep their dtype.
        samples: dict of input name -> array (n, ...) to calibrate with; needed for int8 and int16x8, unless the model has ranges.
        ptq: one of `post_training.MODES`; "best" chooses among several int8 files by measurement: see `post_training.best`.
        skip_lowering: names of edits of `rewrite` that are left out, or `wider_ranges.NAME`.
        progress: None or a function that is called with {"stage", "done", "total"}.

    Returns:
        `Exported`: bytes of a TFLite model with builtin ops only, and how it came about.

    Raises:
        ConversionError: the converter refuses the model; names the ops and layers where it tells them.
    """
    names = [spec.name for spec in traced.inputs]
    converter = functools.partial(_converter, traced, quantization, io)
    widens = quantization == "int8" and samples is not None and traced.is_small
    widen = wider_ranges.widen if widens and not {wider_ranges.NAME, lower.ALL} & set(skip_lowering) else None
    try:
        batches = activations.as_batches([samples[name] for name in names], traced.inputs[0].shape[0]) if widen else None
        content, notes = _converted(converter(samples), batches, widen)
    except Exception as error:  # MLIR diagnostics arrive as several undocumented types
        raise ConversionError(_explain(str(error), quantization)) from error
    if ptq == "best":

        def in_default(calibrated, batches):
            return widen(calibrated, batches)[0] if widen else calibrated

        default = content
        content, done = post_training.best(default, converter, names, samples, in_default=in_default, progress=progress)
        notes = done + notes if content is default else done
    content, edits = rewrite.apply(content, skip=skip_lowering)
    return Exported(flatbuffer.attach_signature(content, names, traced.output_names), edits, notes)


def _converted(converter, batches, widen):
    """(bytes, notes) of what a converter makes, with the ranges that `widen` makes of its own if there is one."""
    if widen:
        calibrated = quantizer.calibrate(converter)
        content, notes = widen(calibrated, batches)
        return quantizer.quantize(content, converter.inference_input_type, converter.inference_output_type), notes
    return flatbuffer.in_order(converter.convert()), ()


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


def io_dtype(quantization, io):
    """The dtype of a file's inputs and outputs, as a string: see `to_tflite`."""
    if io not in IO_DTYPES:
        raise ArgumentError(f"`io` must be one of {', '.join(IO_DTYPES)}. Received: io={io!r}.")
    if quantization == "int8":
        return io
    if quantization == "int16x8":
        if io == "uint8":
            raise ArgumentError("`io` of an int16x8 model must be int8 (then int16) or float32. Received: io='uint8'.")
        return "float32" if io == "float32" else "int16"
    if io == "uint8":
        raise ArgumentError(f"`io` uint8 needs the quantization int8. Received: io='uint8' with {quantization}, which has float32.")
    return "float32"


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
    traced = Traced(function, loaded, inputs, request["output_names"], request["keeps_functions"], request["is_small"])
    samples = None
    if (folder / "samples.npz").exists():
        with np.load(folder / "samples.npz") as archive:
            samples = {spec.name: archive[f"input_{index}"] for index, spec in enumerate(inputs)}
    made = {}
    for name, (quantization, io, ptq) in request["files"].items():
        progress({"stage": f"convert to {quantization}"})
        exported = to_tflite(
            traced, quantization, io=io, samples=samples, ptq=ptq, skip_lowering=request["skip_lowering"], progress=progress
        )
        (folder / name).write_bytes(exported.content)
        made[name] = {"edits": exported.edits, "notes": exported.notes}
    return made


def _pack(model, inputs, tensors):
    import tensorflow as tf

    if not signature.named_tensors(model, "inputs"):
        return tensors[0] if len(tensors) == 1 else dict(zip((spec.name for spec in inputs), tensors, strict=True))
    structure = getattr(model, "input", None)  # a Sequential model that was never called has none
    if structure is not None:
        return tf.nest.pack_sequence_as(structure, tensors)
    return tensors[0] if len(tensors) == 1 else tensors


def _batches(inputs, samples, by_name):
    # The road through a SavedModel shuffles the inputs, and then takes them by name.
    for batch in activations.each_batch([samples[spec.name] for spec in inputs], inputs[0].shape[0]):
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
