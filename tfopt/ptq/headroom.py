"""Room in the ranges of small models, where calibration sees so few values of a tensor that other data go beyond them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from tfopt.ptq import observe, ranges, steep
from tfopt.ptq.observe import Batches
from tfopt.ptq.range_choice import RANGES, WIDENED, Range, choose_ranges
from tfopt.reporting.units import plural
from tfopt.tflite import flatbuffer
from tfopt.tflite.operations import SAME_SCALE

if TYPE_CHECKING:
    import tensorflow as tf
    from ai_edge_litert import schema_py_generated as schema

NAME = "wider_ranges"
"""The name of this step in `skip_lowering`."""

Ends = Literal["wider", "limited", "seen"]
"""How the ends of calibrated ranges are chosen: see `suited`."""

_LARGEST = 2**18  # values of all tensors in a run: more take long to watch, and then calibration sees many values of most tensors
_OBSTACLES = {"If", "StatelessIf", "StatelessWhile", "While"}  # their inner tensors cannot be read


_LARGEST_FILE = 2**29  # bytes of weights: the file is unpacked in memory, and packed again


def suited(function: tf.types.experimental.ConcreteFunction) -> Ends:
    """How the ranges of a traced function are to end.

    Returns:
        "wider" if it is so small that its tensors can be watched: see `widen`. "limited" if it is larger, and computes reciprocals
        of data: see `steep.limited`. "seen" for others: where the calibration saw the ends.
    """
    if fits(function):
        return "wider"
    size = sum(math.prod(variable.shape) * variable.dtype.size for variable in function.variables)
    return "limited" if _is_untrained(function) and size <= _LARGEST_FILE and steep.concerns(function) else "seen"


def fits(function: tf.types.experimental.ConcreteFunction) -> bool:
    """Whether a traced function is so small that its tensors can be watched, and was not trained with ranges of its own."""
    if not _is_untrained(function):
        return False
    tensors = (tensor for operation in function.graph.get_operations() if _computes(operation) for tensor in operation.outputs)
    sizes = (math.prod(tensor.shape) for tensor in tensors if tensor.dtype.is_floating and tensor.shape.is_fully_defined())
    return sum(sizes) <= _LARGEST


def widen(calibrated: bytes, batches: Batches) -> tuple[bytes, tuple[str, ...]]:
    """Moves the ends of ranges outwards, as far as the tail of the values lets expect further ones: see `ranges.extended`.

    Args:
        calibrated: the float file that `quantizer.collect_ranges` makes.
        batches: the samples that it was calibrated with, as `observe.as_batches` cuts them.

    Returns:
        (the file with wider ranges, notes of what was done); the same bytes and no note if nothing changed.
    """
    tensors, kept = flatbuffer.unpack(calibrated).subgraphs[0].tensors, _after_lstm(flatbuffer.parse(calibrated))
    seen = observe.find_ends(calibrated, batches)
    seen = {index: each for index, each in seen.items() if index not in kept and _has_range(tensors[index])}
    extended = RANGES[WIDENED]
    widths = [_width(extended(each)) / _width(ranges.with_zero(each.lowest.min(), each.highest.max())) for each in seen.values()]
    wider = [width - 1 for width in widths if width > 1]
    if not wider:
        return calibrated, ()
    verb = "was" if len(wider) == 1 else "were"
    count = sum(len(batch[0]) for batch in batches)
    told = (
        f"{len(wider)} of {len(widths)} activation ranges {verb} widened (by up to {100 * max(wider):.0f} %) because "
        f"{plural(count, 'sample')} may not contain the extremes; more samples help"
    )
    return choose_ranges(calibrated, seen, extended), (told,)


def _after_lstm(graph: flatbuffer.Graph) -> set[int]:
    """Indices of tensors with the scale of a fused LSTM's output: it lies below 1, and the LSTM itself holds the same range too."""
    found: set[int] = set()
    for operator in graph.operators:
        copies = operator.name in SAME_SCALE and found & set(operator.inputs)
        if copies or operator.name == "UNIDIRECTIONAL_SEQUENCE_LSTM":
            found.update(operator.outputs)
    return found


def _is_untrained(function: tf.types.experimental.ConcreteFunction) -> bool:
    """Whether all ranges of a function can be chosen, and all of its tensors be seen."""
    kinds = {operation.type for operation in function.graph.get_operations()}
    return not kinds & _OBSTACLES and not any(kind.startswith("FakeQuant") for kind in kinds)


def _computes(operation: tf.Operation) -> bool:
    """Whether an operation is more than an input, a constant or the value of a variable."""
    return len(operation.inputs) > 0 and operation.type != "ReadVariableOp"


def _has_range(tensor: schema.TensorT) -> bool:
    found = tensor.quantization
    return found is not None and found.min is not None and len(found.min) == 1


def _width(ends: Range) -> float:
    return max(ends[1] - ends[0], 1e-30)
