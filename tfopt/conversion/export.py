"""A traced model becomes TFLite bytes by TensorFlow's converter."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tfopt.conversion.settings import IoDtype, Ptq, Quantization, io_dtype
from tfopt.errors import ConversionError, OutputError
from tfopt.lowering import lower
from tfopt.lowering.trace import Traced
from tfopt.progress import Progress, ignore
from tfopt.ptq import headroom, observe, quantizer, search, steep
from tfopt.ptq.observe import Batches
from tfopt.tflite import flatbuffer
from tfopt.tflite.edits import apply_edits
from tfopt.tflite.layer_names import LayerNames
from tfopt.tflite.signature import attach_signature, in_order

if TYPE_CHECKING:
    import tensorflow as tf

Move = Callable[[bytes, Batches], tuple[bytes, tuple[str, ...]]]


@dataclasses.dataclass(frozen=True)
class Exported:
    """A TFLite file as it came out of the converter and was mended.

    Attributes:
        content: the bytes of the file.
        edits: dict of edit (`edits.EDITS`) -> number of places that it changed.
        notes: what was done beyond the default, and what it brought.
    """

    content: bytes
    edits: dict[str, int]
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Variant:
    """One kind of file that can be made of a model.

    Attributes:
        quantization: one of `settings.QUANTIZATIONS`.
        io: dtype of the inputs and outputs: see `settings.io_dtype`. Integer inputs such as token ids keep their dtype.
        ptq: one of `search.MODES`; "best" chooses among several int8 files by measurement: see `search.best`.
        float_layers: names of layers of an int8 file that stay in float.
    """

    quantization: Quantization
    io: IoDtype = "int8"
    ptq: Ptq = "default"
    float_layers: tuple[str, ...] = ()


def to_tflite(
    traced: Traced,
    variant: Variant,
    *,
    samples: Mapping[str, npt.NDArray[np.generic]] | None = None,
    skip_lowering: Sequence[str] = (),
    ends: headroom.Ends | None = None,
    progress: Progress = ignore,
) -> Exported:
    """Converts a traced model, in this process.

    Args:
        traced: the model as one function.
        variant: the kind of file to make.
        samples: arrays (n, ...) by input name to calibrate with; int8 and int16x8 need them, unless the model has ranges.
        skip_lowering: names of edits of `edits.EDITS` that are left out, or `headroom.NAME`.
        ends: `headroom.suited` of the model; None if `traced` is the model itself, which can tell.
        progress: called with {"stage", "done", "total"}.

    Returns:
        `Exported`: bytes of a TFLite model with builtin ops only, and how they came about.

    Raises:
        ConversionError: the converter refuses the model; names the ops and layers where it tells them.
    """
    names = [spec.name for spec in traced.inputs]
    converter = functools.partial(_converter, traced, variant)
    move: Move | None = None
    if variant.quantization == "int8" and samples is not None and lower.ALL not in skip_lowering:
        ends = headroom.suited(traced.function) if ends is None else ends
        move = None if ends == "seen" else _widen if ends == "wider" and headroom.NAME not in skip_lowering else _limit
    notes: tuple[str, ...]
    try:
        batches = observe.as_batches([samples[name] for name in names], traced.batch_size) if move and samples else None
        in_float = functools.partial(_operations_of, traced=traced, layers=variant.float_layers) if variant.float_layers else None
        content, notes = _converted(converter(samples), batches, move, in_float)
    except Exception as error:  # MLIR diagnostics arrive as several undocumented types
        raise ConversionError(_explain(str(error), variant.quantization, traced)) from error
    if variant.ptq == "best" and samples is not None:

        def in_default(calibrated: bytes, batches: Batches) -> bytes:
            return move(calibrated, batches)[0] if move else calibrated

        default = content
        content, done = search.best(default, converter, names, samples, in_default=in_default, progress=progress)
        notes = done + notes if content is default else done
    content, edits = apply_edits(content, skip=skip_lowering)
    return Exported(attach_signature(content, names, traced.output_names), edits, notes)


def _widen(calibrated: bytes, batches: Batches) -> tuple[bytes, tuple[str, ...]]:
    content, notes = headroom.widen(calibrated, batches)
    return steep.limited(content), notes


def _limit(calibrated: bytes, batches: Batches) -> tuple[bytes, tuple[str, ...]]:
    return steep.limited(calibrated), ()


def _converted(
    converter: tf.lite.TFLiteConverter,
    batches: Batches | None,
    move: Move | None,
    in_float: Callable[[bytes], set[str]] | None,
) -> tuple[bytes, tuple[str, ...]]:
    """(bytes, notes) of a converter's file, in which `move` has moved ends of ranges and `in_float` kept operations in float."""
    notes: tuple[str, ...] = ()
    if move is None and in_float is None:
        return in_order(converter.convert()), notes
    content = quantizer.collect_ranges(converter)
    if move and batches is not None:
        content, notes = move(content, batches)
    kept = in_float(content) if in_float else ()
    return quantizer.quantize(content, converter.inference_input_type, converter.inference_output_type, kept), notes


def _operations_of(content: bytes, traced: Traced, layers: Sequence[str]) -> set[str]:
    """The names of the operations of a float file that layers compute by, which are those of their first outputs."""
    graph = flatbuffer.parse(content)
    scopes = tuple(scope for scope, layer in traced.scopes.layers.items() if layer in layers)
    ends = {index: traced.scopes.outputs.get(name, "") for index, name in zip(graph.outputs, traced.output_names, strict=True)}
    found = set()
    for operator in graph.operators:
        name = graph.tensors[operator.outputs[0]].name
        paths = [*name.split(";"), ends.get(operator.outputs[0], "")]
        if any(path == scope or path.startswith(f"{scope}/") for path in paths for scope in scopes):
            found.add(name)
    return found


def _converter(traced: Traced, variant: Variant, samples: Mapping[str, npt.NDArray[np.generic]] | None) -> tf.lite.TFLiteConverter:
    import tensorflow as tf

    quantization = variant.quantization

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
            given = samples
            converter.target_spec.supported_ops = [integer, tf.lite.OpsSet.TFLITE_BUILTINS]
            converter.representative_dataset = lambda: _batches(traced, given)
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(io_dtype(quantization, variant.io))
    return converter


def save_traced(traced: Traced, folder: pathlib.Path) -> None:
    """Writes a traced model as a SavedModel, for another process to convert.

    Raises:
        ConversionError: the model looks up values that are no numbers, or in too many ways.
        OutputError: there is no room.
    """
    import tensorflow as tf

    if "LookupTableFindV2" in traced.layers:  # a table is no variable, and TensorFlow does not save it with the function
        raise ConversionError(_not_builtin(["LookupTableFindV2"], traced))
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


def _batches(
    traced: Traced, samples: Mapping[str, npt.NDArray[np.generic]]
) -> Iterator[dict[str, npt.NDArray[np.generic]] | Sequence[npt.NDArray[np.generic]]]:
    # The road through a SavedModel shuffles the inputs, and then takes them by name.
    for batch in observe.each_batch([samples[spec.name] for spec in traced.inputs], traced.batch_size):
        yield {f"input_{index}": array for index, array in enumerate(batch)} if traced.keeps_functions else batch


def _explain(message: str, quantization: Quantization, traced: Traced) -> str:
    ops = sorted(set(re.findall(r"\btf\.([A-Z]\w+)", message)))
    if "Flex ops" in message or "custom op" in message or "is neither a custom op nor a flex op" in message:
        return _not_builtin(ops, traced)
    lines = [line for line in message.splitlines() if "error:" in line] or message.splitlines()[:1]
    kinds = ["".join(map(str.capitalize, kind.split("_"))) for kind in re.findall(r"\(([A-Z_0-9]+)\) failed to", message)]
    named = [
        *(layer for line in lines for layer in _named_in(line, traced)),
        *(each for kind in kinds for each in traced.layers.get(kind, ())),
    ]
    layers = list(dict.fromkeys(map(repr, named)))
    where = f"{', '.join(layers[:5])}: " if layers else ""
    reasons = dict.fromkeys(map(_in_words, lines))
    return (
        f"The converter must be able to express the model in {quantization}. Received: {where}{' | '.join(reasons)[:600]}. "
        "Try another quantization, replace the layer that is named by simpler operations, or cut it off: before, body, after = "
        "tfopt.split(model, at=(..., ...)) cuts a Functional model before and after such layers, and the body converts."
    )


def _in_words(line: str) -> str:
    """A line of the converter without its places and types, which say nothing to a user."""
    for pattern, word in (
        (r"^<unknown>:\d+: |\bloc\(.*?\]?\): |\berror: ", ""),
        (r"'(?:tf|tfl)\.(\w+)' op\b", lambda found: f"the operation {found.group(1).upper()}:"),
        (r"'(?:tf|tfl)\.(\w+)'", lambda found: found.group(1).upper()),
        (r"!quant\.uniform<\w+:\w+, ([-\d.eE+]+)(?::-?\d+)?>", lambda found: f"a scale of {float(found.group(1)):.3g}"),
        (r"!quant\.uniform<[^>]*>", "scales of channels"),
    ):
        line = re.sub(pattern, word, line)
    return line.strip()


def _not_builtin(ops: Sequence[str], traced: Traced) -> str:
    layers = list(dict.fromkeys(repr(layer) for op in ops for layer in traced.layers.get(op, ())))
    where = f" in {', '.join(layers[:5])}" if layers else ""
    layer = layers[0] if layers else "NAME"
    return (
        f"Every op of the model must be a TFLite builtin. Received: {', '.join(f'tf.{op}' for op in ops) or 'others'}{where}. "
        f"Replace it by simpler operations, or cut it off: before, body, after = tfopt.split(model, at=({layer}, None)) cuts a "
        f"Functional model after a layer, at=(None, {layer}) before it, and the body converts."
    )


def _named_in(line: str, traced: Traced) -> Iterator[str]:
    """The layers in whose operations the converter says to have failed."""
    operations = [operation.name for operation in traced.function.graph.get_operations()]
    names = LayerNames(set(traced.scopes.layers.values()), operations, traced.scopes)
    for location in re.findall(r'"([^"]+)"', line):
        layer = names.writer(location.partition("@")[0].removeprefix("StatefulPartitionedCall/"))
        if layer:
            yield layer
