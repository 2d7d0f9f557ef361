"""Room in the ranges of small models, where calibration sees so few values of a tensor that other data go beyond them."""

import math

from tfopt.ptq import observe, ranges
from tfopt.ptq.recipes import RANGES, SAME_SCALE, WIDENED, choose_ranges
from tfopt.tflite import flatbuffer

NAME = "wider_ranges"  # in `skip_lowering`
_LARGEST = 2**18  # values of all tensors in a run: watching more takes long, and of most tensors many are seen then
_OBSTACLES = {"If", "StatelessIf", "StatelessWhile", "While"}  # what they compute inside is not to be seen


def fits(function):
    """Whether a traced function is so small that its tensors can be watched, and was not trained with ranges of its own.

    Args:
        function: `tf.types.experimental.ConcreteFunction`.
    """
    operations = function.graph.get_operations()
    if any(operation.type in _OBSTACLES or operation.type.startswith("FakeQuant") for operation in operations):
        return False
    tensors = (tensor for operation in operations if _computes(operation) for tensor in operation.outputs)
    sizes = (math.prod(tensor.shape) for tensor in tensors if tensor.dtype.is_floating and tensor.shape.is_fully_defined())
    return sum(sizes) <= _LARGEST


def widen(calibrated, batches):
    """Moves the ends of ranges outwards by what the tail of the values lets expect: see `ranges.extended`.

    Args:
        calibrated: bytes, as `quantizer.calibrate` makes them.
        batches: list of lists of arrays, as `activations.as_batches` makes them, of the same samples.

    Returns:
        (bytes, tuple of str that says what was done); the bytes are the same ones if nothing changed.
    """
    tensors, kept = flatbuffer.unpack(calibrated).subgraphs[0].tensors, _behind_lstm(flatbuffer.parse(calibrated))
    seen = observe.find_ends(calibrated, batches)
    seen = {index: each for index, each in seen.items() if index not in kept and _has_range(tensors[index])}
    extended = RANGES[WIDENED]
    widths = [_width(extended(each)) / _width(ranges.with_zero(each.lowest.min(), each.highest.max())) for each in seen.values()]
    wider = [width - 1 for width in widths if width > 1]
    if not wider:
        return calibrated, ()
    told = f"{len(wider)} of {len(widths)} ranges were widened, by up to {max(wider):.0%}: the representative data show few values"
    return choose_ranges(calibrated, seen, extended), (told,)


def _behind_lstm(graph):
    """Indices of tensors with the scale of a fused LSTM's output: it lies below 1, and the op has the same range a second time."""
    found = set()
    for operator in graph.operators:
        copies = operator.name in SAME_SCALE and found & set(operator.inputs)
        if copies or operator.name == "UNIDIRECTIONAL_SEQUENCE_LSTM":
            found.update(operator.outputs)
    return found


def _computes(operation):
    """Whether an operation is more than an input, a constant or the value of a variable."""
    return len(operation.inputs) > 0 and operation.type != "ReadVariableOp"


def _has_range(tensor):
    found = tensor.quantization
    return found is not None and found.min is not None and len(found.min) == 1


def _width(ends):
    return max(ends[1] - ends[0], 1e-30)
