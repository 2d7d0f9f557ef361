"""Make int8 files by recipes: which channels are equalized, where the ranges come from, whether biases are corrected."""

import dataclasses

import numpy as np

from tfopt.ptq import bias_correction, equalize, observe, quantizer, ranges
from tfopt.tflite import flatbuffer

RANGES = {  # function from an `Activation` to (low, high)
    "widened min-max": lambda seen: ranges.extended(seen.lowest, seen.highest, seen.count),
    "least squared error": lambda seen: ranges.minimal_error(seen.histogram),
    "percentile 99.99": lambda seen: ranges.percentile(seen.histogram, 0.9999),
    "percentile 99.9": lambda seen: ranges.percentile(seen.histogram, 0.999),
}
WIDENED, *_ = RANGES
EQUALIZED = {"their ranges": False, "their ranges and the weights that read them": True}  # how -> whether balanced
# What these ops give out has the scale of what they take in.
SAME_SCALE = {
    "AVERAGE_POOL_2D", "CONCATENATION", "EXPAND_DIMS", "GATHER", "MAX_POOL_2D", "PACK", "PAD", "RESHAPE", "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPACE_TO_DEPTH", "SPLIT", "SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE", "UNPACK",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How an int8 file is made: `equalized` is a key of `EQUALIZED` or "", `ranges` a key of `RANGES`."""

    equalized: str
    ranges: str
    corrected: bool = False


@dataclasses.dataclass(frozen=True)
class _Float:
    """A float file to be quantized.

    Attributes:
        content: bytes.
        seen: what `activations.observe` found in it.
        known: dict of tensor index -> (low, high), where the range is settled.
        changed: int, channels with a new scale.
    """

    content: bytes
    seen: dict
    known: dict
    changed: int


class Workshop:
    """Makes int8 files by recipes, from the ranges and means of some samples.

    Args:
        calibrated: bytes, as `quantizer.calibrate` makes them.
        batches: list of lists of arrays, one for each input in the file's order.
        dtypes: (input, output), as for `quantizer.quantize`.
    """

    def __init__(self, calibrated, batches, dtypes):
        self._batches = batches
        self._dtypes, self._corrected = dtypes, 0
        self._sources = {"": _Float(calibrated, observe.observe(calibrated, self._batches), {}, 0)}

    def gains(self, equalized):
        """Whether this way to equalize changes anything."""
        return self._source(equalized).changed > 0

    def make(self, recipe):
        """The int8 file that a recipe leads to."""
        source = self._source(recipe.equalized)
        if recipe.corrected:
            content, self._corrected = bias_correction.correct(source.content, source.seen)
            source = dataclasses.replace(source, content=content)
        content = choose_ranges(source.content, source.seen, RANGES[recipe.ranges], source.known)
        return quantizer.quantize(content, *self._dtypes)

    def tell(self, recipe):
        """What a recipe did, in words."""
        steps = [f"{recipe.ranges} ranges"]
        if recipe.equalized:
            source = self._source(recipe.equalized)
            added = f" ({len(source.known)} multiplications added before sigmoids)" if source.known else ""
            steps.append(f"{source.changed} channels equalized by {recipe.equalized}{added}")
        if recipe.corrected:
            steps.append(f"{self._corrected} biases corrected")
        return ", ".join(steps)

    def _source(self, equalized):
        if equalized not in self._sources:
            plain = self._sources[""]
            content, changed, known = equalize.equalize(plain.content, plain.seen, balance=EQUALIZED[equalized])
            seen = observe.observe(content, self._batches) if changed else plain.seen
            self._sources[equalized] = _Float(content, seen, known, changed)
        return self._sources[equalized]


def choose_ranges(content, seen, choose, known=None):
    """The float file with the range of each tensor as `choose` takes it from what was seen of the tensor.

    Args:
        content: bytes, as `quantizer.calibrate` makes them.
        seen: dict of tensor index -> `Activation`, or what `choose` needs of it.
        choose: one of `RANGES`.
        known: None or dict of tensor index -> (low, high), where the range is settled.

    Returns:
        bytes. Tensors that must have the same scale have one range.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = flatbuffer.unpack(content)
    subgraph = model.subgraphs[0]
    chosen = {index: choose(activation) for index, activation in seen.items()} | (known or {})
    for operators in (subgraph.operators, reversed(subgraph.operators)):
        for operator in operators:
            if flatbuffer.op_name(model, operator) in SAME_SCALE:
                linked = [int(index) for index in (*operator.inputs, *operator.outputs) if int(index) in chosen]
                if linked:
                    lows, highs = zip(*(chosen[index] for index in linked), strict=True)
                    chosen.update(dict.fromkeys(linked, (min(lows), max(highs))))
    for index, (low, high) in chosen.items():
        tensor = subgraph.tensors[index]
        tensor.quantization = tensor.quantization or schema.QuantizationParametersT()
        tensor.quantization.min, tensor.quantization.max = np.array([low], np.float32), np.array([high], np.float32)
    return flatbuffer.pack(model)
