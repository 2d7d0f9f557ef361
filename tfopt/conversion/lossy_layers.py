"""Find the layer in which an int8 file loses most, to name it or to keep it in float."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from tfopt.checking import layer_errors
from tfopt.checking import reference as reference_side
from tfopt.checking.comparison import spread_batches
from tfopt.tflite.interpreter import Interpreter

if TYPE_CHECKING:
    import keras

    from tfopt.checking.layer_facts import Cause
    from tfopt.checking.result import CheckResult
    from tfopt.conversion.export import Exported
    from tfopt.conversion.settings import Settings
    from tfopt.data.samples import Samples

_MOST = 4
"""Layers that are kept in float, at most."""

_GRADUAL = {
    "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "HARD_SWISH", "LEAKY_RELU",
    "LOGISTIC", "MAX_POOL_2D", "MEAN", "MUL", "PAD", "PADV2", "QUANTIZE", "RELU", "RELU6", "RESHAPE", "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR", "SLICE", "SOFTMAX", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE", "TRANSPOSE_CONV",
}  # fmt: skip
"""Operations that each lose a little: in a file of these alone seldom one layer stands out, and to look at each takes long."""

_RUINED = 10.0
"""An SQNR, in dB, to which many small losses seldom add up: below it, a file of gradual operations is searched as well."""


@dataclasses.dataclass(frozen=True)
class Checked:
    """A file and its verdict."""

    exported: Exported
    verdict: CheckResult


ConvertAgain = Callable[[tuple[str, ...]], "tuple[Exported, CheckResult]"]
"""A function from names of layers to the int8 file with these layers in float, and its verdict."""


def is_lossy(verdict: CheckResult, settings: Settings) -> bool:
    """Whether an int8 file failed its check because its outputs are too far off."""
    is_off = any(output.sqnr is not None and not output.sqnr >= settings.min_sqnr for output in verdict.outputs)
    drop = verdict.accuracy_drop
    return settings.quantization == "int8" and (is_off or (drop is not None and drop > settings.max_accuracy_drop + 1e-12))


def mend(file: Checked, model: keras.Model, samples: Samples | None, settings: Settings, convert_again: ConvertAgain) -> Checked:
    """Keeps the layers in float in which a file loses most, if float operations are allowed; else names the first such layer.

    Args:
        file: an int8 file that `is_lossy`.
        model: the Keras model that it was made of.
        samples: to compare the layers on.
        settings: of the conversion.
        convert_again: makes the file once more.

    Returns:
        The file with some layers in float and a note about each of them, or the same file with a reason that names the layer.
    """
    start = file
    kept: list[str] = []
    if file.verdict.structure.float_ops and not settings.allow_float:
        return file  # the reasons name their layers
    if set(file.verdict.structure.ops) <= _GRADUAL and _lowest(file) >= _RUINED and not settings.allow_float:
        return file
    while len(kept) < _MOST and is_lossy(file.verdict, settings):
        cause = _find(file.exported.content, model, samples, settings)
        if cause is None or cause.layer in kept:
            break
        if not settings.allow_float:
            reason = f"most of it is lost in layer {cause.layer!r}: {cause.what}. {cause.remedy}"
            return Checked(file.exported, dataclasses.replace(file.verdict, reasons=(*file.verdict.reasons, reason)))
        kept.append(cause.layer)
        file = Checked(*convert_again(tuple(kept)))
    if not kept or _lowest(file) <= _lowest(start):
        return start
    which = f"layer {kept[0]!r} stays" if len(kept) == 1 else f"layers {', '.join(map(repr, kept))} stay"
    note = f"{which} in float: in int8, the outputs fall to {_lowest(start):.1f} dB"
    return Checked(file.exported, dataclasses.replace(file.verdict, notes=(note, *file.verdict.notes)))


def _find(content: bytes, model: keras.Model, samples: Samples | None, settings: Settings) -> Cause | None:
    """The layer whose SQNR is furthest below that of all layers before it; None if no layer stands out."""
    if samples is None:
        return None
    observed = Interpreter(content, threads=settings.threads, keep_all=True)
    bound = reference_side.bind_keras(model, observed)
    _, causes = layer_errors.examine(observed, bound, lambda count: spread_batches(observed, samples, count), ())
    return next((cause for cause in causes if cause.kind == "lossy-layer"), None)


def _lowest(file: Checked) -> float:
    """The smallest SQNR of an output; infinite for a file whose outputs are integers."""
    return min((output.sqnr for output in file.verdict.outputs if output.sqnr is not None), default=math.inf)
