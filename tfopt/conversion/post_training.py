"""`ptq="best"`: try several ways to quantize without training, and keep the one that is measured to be the best."""

import dataclasses
import math

import numpy as np

from tfopt.conversion import activations, bias_correction, equalize, flatbuffer, quantizer, ranges, structure
from tfopt.conversion.interpreter import Interpreter
from tfopt.errors import ConversionError

MODES = ("default", "best")
MIN_SAMPLES = 8
MIN_GAIN = 0.5  # dB; less is chance
_EXACT = 150.0  # dB, in the stead of infinity
_RANGES = {
    "min-max": lambda histogram: (min(float(histogram.edges[0]), 0.0), max(float(histogram.edges[-1]), 0.0)),
    "least squared error": ranges.minimal_error,
    "percentile 99.99": lambda histogram: ranges.percentile(histogram, 0.9999),
    "percentile 99.9": lambda histogram: ranges.percentile(histogram, 0.999),
}
_EQUALIZED = {"their ranges": False, "their ranges and the weights that read them": True}  # how -> whether balanced
# What these ops give out has the scale of what they take in.
_SAME_SCALE = {
    "AVERAGE_POOL_2D", "CONCATENATION", "EXPAND_DIMS", "GATHER", "MAX_POOL_2D", "PACK", "PAD", "RESHAPE", "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPACE_TO_DEPTH", "SPLIT", "SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE", "UNPACK",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Recipe:
    """How an int8 file is made: `equalized` is a key of `_EQUALIZED` or "", `ranges` a key of `_RANGES`."""

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


def best(default, converter, names, samples, *, progress=None):
    """Looks for a better int8 file than the default one.

    A quarter of the samples is held out. On the others ranges are taken, channels equalized, biases corrected, and the SQNR of
    each candidate is measured against the float file. The winner has to beat the default way, which saw the same samples, on those
    held out. Then it is made once more from all samples, as the default file is, and has to beat that too: no output may lose.

    Args:
        default: bytes of the int8 file that the converter makes from all samples.
        converter: function from samples to a `tf.lite.TFLiteConverter` that calibrates with them.
        names: list of str, the inputs in the file's order.
        samples: dict of input name -> array (n, ...).
        progress: None or a function that is called with {"stage", "done", "total"}.

    Returns:
        (bytes of an int8 file, tuple of str: what was done, and what it brought).
    """
    count = len(samples[names[0]])
    if count < MIN_SAMPLES:
        return default, (f"ptq best: {count} samples are too few to choose by, at least {MIN_SAMPLES} are needed: default kept",)
    order = np.random.default_rng(0).permutation(count)
    rows = {"search": order[count // 4 :], "held": order[: count // 4], "all": order}
    parts = {part: {name: samples[name][own] for name in names} for part, own in rows.items()}
    search_converter = converter(parts["search"])
    dtypes = search_converter.inference_input_type, search_converter.inference_output_type
    calibrated = quantizer.calibrate(search_converter)
    obstacle = _obstacle(calibrated)
    if obstacle:
        return default, (f"ptq best: {obstacle}: default kept",)
    judge = _Judge(calibrated, {part: list(arrays.values()) for part, arrays in parts.items()})
    workshop = _Workshop(calibrated, list(parts["search"].values()), dtypes)
    rival = quantizer.quantize(calibrated, *dtypes)
    recipe, content, tried = _search(workshop, judge, rival, structure.examine(Interpreter(default), quantization="int8"), progress)
    if recipe is None:
        return default, (f"ptq best: none of {tried} candidates was better than default: default kept",)
    tale = f"ptq best: {workshop.tell(recipe)}"
    before, after = judge.measure(rival, "held"), judge.measure(content, "held")
    numbers = f"{_mean(after):.1f} dB against {_mean(before):.1f} dB of default on {count // 4} held-out samples"
    if not _is_better(after, before):
        return default, (f"{tale}: {numbers}, the best of {tried} candidates: default kept",)
    content = _Workshop(calibrated, list(parts["all"].values()), dtypes).make(recipe)
    if not all(_is_better(judge.measure(content, part), judge.measure(default, part)) for part in ("held", "all")):
        return default, (f"{tale}: {numbers}, but no better than default with the ranges of all samples: default kept",)
    return content, (f"{tale}: {numbers}, the best of {tried} candidates; then made again from all {count} samples",)


def _search(workshop, judge, rival, rival_structure, progress):
    """Tries recipes, each step building on the best before; returns (recipe or None, its bytes, number of candidates)."""
    own = judge.measure(rival, "search")
    found = {}  # recipe -> (mean SQNR, bytes)
    contents = {}

    def attempt(recipes):
        for recipe in recipes:
            if progress:
                progress({"stage": "search the best quantization", "done": len(found) + 1})
            found[recipe] = -math.inf
            contents[recipe] = content = workshop.make(recipe)
            try:
                now = structure.examine(Interpreter(content), quantization="int8")
            except ConversionError:  # the kernels refuse some combinations of scales
                continue
            score = judge.measure(content, "search")
            fits = len(now.float_ops) <= len(rival_structure.float_ops) and now.partitions <= rival_structure.partitions
            if fits and _is_better(score, own):
                found[recipe] = _mean(score)
        return max(found, key=found.get)

    equalized = ["", *(how for how in _EQUALIZED if workshop.source(how).changed)]
    first, second, *others = _RANGES
    chosen = attempt(_Recipe(how, kind) for how in equalized for kind in (first, second))
    chosen = attempt(_Recipe(chosen.equalized, kind) for kind in others)
    chosen = attempt([dataclasses.replace(chosen, corrected=True)])
    return (chosen if found[chosen] > -math.inf else None), contents[chosen], len(found)


class _Workshop:
    """Makes int8 files by recipes, from the ranges and means of one part of the samples."""

    def __init__(self, calibrated, arrays, dtypes):
        size = Interpreter(calibrated).batch_size
        self._batches = [_batch(arrays, start, size) for start in range(0, len(arrays[0]), size)]
        self._dtypes, self._corrected = dtypes, 0
        self._sources = {"": _Float(calibrated, activations.observe(calibrated, self._batches), {}, 0)}

    def source(self, equalized):
        if equalized not in self._sources:
            plain = self._sources[""]
            content, changed, known = equalize.equalize(plain.content, plain.seen, balance=_EQUALIZED[equalized])
            seen = activations.observe(content, self._batches) if changed else plain.seen
            self._sources[equalized] = _Float(content, seen, known, changed)
        return self._sources[equalized]

    def make(self, recipe):
        source = self.source(recipe.equalized)
        if recipe.corrected:
            content, self._corrected = bias_correction.correct(source.content, source.seen)
            source = dataclasses.replace(source, content=content)
        return quantizer.quantize(_with_ranges(source, _RANGES[recipe.ranges]), *self._dtypes)

    def tell(self, recipe):
        """What a recipe did, in words."""
        steps = [f"{recipe.ranges} ranges"]
        if recipe.equalized:
            steps.append(f"{self.source(recipe.equalized).changed} channels equalized by {recipe.equalized}")
        if recipe.corrected:
            steps.append(f"{self._corrected} biases corrected")
        return ", ".join(steps)


class _Judge:
    """Measures int8 files against the float file, on parts of the samples."""

    def __init__(self, reference, parts):
        run = Interpreter(reference).run
        self._parts = {part: arrays if len(arrays) > 1 else arrays[0] for part, arrays in parts.items()}
        self._wanted = {part: run(arrays) for part, arrays in self._parts.items()}

    def measure(self, content, part):
        """SQNR in dB of each output of a file on a part of the samples."""
        outputs = Interpreter(content).run(self._parts[part])
        return [_sqnr(wanted, output) for wanted, output in zip(self._wanted[part], outputs, strict=True)]


def _with_ranges(source, choose):
    """The float file with the range of each tensor as `choose` takes it from the tensor's histogram."""
    from ai_edge_litert import schema_py_generated as schema

    model = flatbuffer.unpack(source.content)
    subgraph = model.subgraphs[0]
    chosen = {index: choose(seen.histogram) for index, seen in source.seen.items()} | source.known
    for operators in (subgraph.operators, reversed(subgraph.operators)):
        for operator in operators:
            if flatbuffer.op_name(model, operator) in _SAME_SCALE:
                linked = [int(index) for index in (*operator.inputs, *operator.outputs) if int(index) in chosen]
                if linked:
                    lows, highs = zip(*(chosen[index] for index in linked), strict=True)
                    chosen.update(dict.fromkeys(linked, (min(lows), max(highs))))
    for index, (low, high) in chosen.items():
        tensor = subgraph.tensors[index]
        tensor.quantization = tensor.quantization or schema.QuantizationParametersT()
        tensor.quantization.min, tensor.quantization.max = np.array([low], np.float32), np.array([high], np.float32)
    return flatbuffer.pack(model)


def _obstacle(calibrated):
    """Why a float file cannot be worked on, or None."""
    graph = flatbuffer.parse(calibrated)
    if graph.subgraphs > 1:
        return "the model has control flow"
    if any(operator.name in ("QUANTIZE", "DEQUANTIZE", "FAKE_QUANT") for operator in graph.operators):
        return "the model was trained with quantization and keeps its ranges"
    return None


def _batch(arrays, start, size):
    rows = np.arange(start, start + size) % len(arrays[0])  # the last batch is filled up with the first samples
    return [array[rows] for array in arrays]


def _sqnr(wanted, output):
    wanted, output = wanted.astype(np.float64), output.astype(np.float64)
    noise, signal = float(((wanted - output) ** 2).sum()), float((wanted**2).sum())
    if noise == 0:
        return _EXACT
    return min(10 * math.log10(signal / noise), _EXACT) if signal > 0 and math.isfinite(noise) else -_EXACT


def _mean(score):
    return sum(score) / len(score)


def _is_better(score, than):
    """Whether the mean gains and no output loses."""
    return _mean(score) >= _mean(than) + MIN_GAIN and all(one >= other for one, other in zip(score, than, strict=True))
