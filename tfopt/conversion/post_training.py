"""`ptq="best"`: try several ways to quantize without training, and keep the one that is measured to be the best."""

import dataclasses
import math

import numpy as np

from tfopt.conversion import activations, bias_correction, equalize, flatbuffer, quantizer, ranges, structure
from tfopt.conversion.interpreter import Interpreter
from tfopt.errors import ConversionError

MODES = ("default", "best")
MIN_SAMPLES = 8
MIN_GAIN = 0.1  # dB; less is chance
_EXACT = 150.0  # dB, in the stead of infinity
_RANGES = {
    "min-max": lambda histogram: (min(float(histogram.edges[0]), 0.0), max(float(histogram.edges[-1]), 0.0)),
    "least squared error": ranges.minimal_error,
    "percentile 99.99": lambda histogram: ranges.percentile(histogram, 0.9999),
    "percentile 99.9": lambda histogram: ranges.percentile(histogram, 0.999),
}
# What these ops give out has the scale of what they take in.
_SAME_SCALE = {
    "AVERAGE_POOL_2D", "CONCATENATION", "EXPAND_DIMS", "GATHER", "MAX_POOL_2D", "PACK", "PAD", "RESHAPE", "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPACE_TO_DEPTH", "SPLIT", "SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE", "UNPACK",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Float:
    """A float file to be quantized.

    Attributes:
        content: bytes.
        seen: what `activations.observe` found in it.
        known: dict of tensor index -> (low, high), where the range is settled.
        story: tuple of str, what was done to it.
    """

    content: bytes
    seen: dict
    known: dict
    story: tuple = ()


def best(default, converter, names, samples, *, progress=None):
    """Looks for a better int8 file than the default one.

    A quarter of the samples is held out. On the others ranges are taken, channels equalized, biases corrected, and the SQNR of
    each candidate is measured against the float file. The winner is returned if it beats `default` on what was held out, where no
    output may lose; otherwise `default` is.

    Args:
        default: bytes of the int8 file that the converter makes from all samples.
        converter: a `tf.lite.TFLiteConverter` for the same, with any sample as its representative data.
        names: list of str, the inputs in the file's order.
        samples: dict of input name -> array (n, ...).
        progress: None or a function that is called with {"stage", "done", "total"}.

    Returns:
        (bytes of an int8 file, tuple of str: what was done, and what it brought).
    """
    count = len(samples[names[0]])
    if count < MIN_SAMPLES:
        return default, (f"ptq best: {count} samples are too few to choose by, at least {MIN_SAMPLES} are needed: default kept",)
    calibrated = quantizer.calibrate(converter)
    obstacle = _obstacle(calibrated)
    if obstacle:
        return default, (f"ptq best: {obstacle}: default kept",)
    order = np.random.default_rng(0).permutation(count)
    held = max(2, count // 4)
    parts = {part: [samples[name][rows] for name in names] for part, rows in (("search", order[held:]), ("held", order[:held]))}
    search = _Search(default, converter, calibrated, parts, progress or (lambda report: None))
    content, story = search.run()
    if content is None:
        return default, (f"ptq best: none of {search.tried} candidates was better than default: default kept",)
    before, after = search.measure(default, "held"), search.measure(content, "held")
    numbers = f"{_mean(after):.1f} dB against {_mean(before):.1f} dB of default on {held} held-out samples"
    if not _is_better(after, before):
        return default, (f"ptq best: the best of {search.tried} candidates ({', '.join(story)}) had {numbers}: default kept",)
    return content, (f"ptq best: {', '.join(story)}: {numbers}, the best of {search.tried} candidates",)


class _Search:
    """The candidates, one after the other: each step builds on the best of those before."""

    def __init__(self, default, converter, calibrated, parts, progress):
        self._dtypes = converter.inference_input_type, converter.inference_output_type
        self._parts, self._progress, self.tried = parts, progress, 0
        size = Interpreter(calibrated).batch_size
        self._batches = [_batch(parts["search"], start, size) for start in range(0, len(parts["search"][0]), size)]
        reference = Interpreter(calibrated)
        self._wanted = {part: reference.run(_bound(arrays)) for part, arrays in parts.items()}
        self._structure = structure.examine(Interpreter(default), quantization="int8")
        self._calibrated = calibrated
        self._score = self.measure(default, "search")
        self._winner = (None, self._score, ())

    def run(self):
        """Returns (bytes, story) of the best candidate on the search part; (None, ()) if none beats the default."""
        plain = _Float(self._calibrated, activations.observe(self._calibrated, self._batches), {})
        sources = [plain, *self._equalized(plain)]
        tallied = []
        for source in sources:
            for name in list(_RANGES)[:2]:
                tallied.append((self._try(source, name), source, name))
        _, source, name = max(tallied, key=lambda entry: entry[0])
        for other in list(_RANGES)[2:]:
            tallied.append((self._try(source, other), source, other))
        _, source, name = max(tallied, key=lambda entry: entry[0])
        content, layers = bias_correction.correct(source.content, source.seen)
        if layers:
            corrected = dataclasses.replace(source, content=content, story=(*source.story, f"corrected {layers} biases"))
            self._try(corrected, name)
        content, _, story = self._winner
        return content, story

    def measure(self, content, part):
        """SQNR in dB of each output of a file on a part of the samples."""
        outputs = Interpreter(content).run(_bound(self._parts[part]))
        return [_sqnr(wanted, output) for wanted, output in zip(self._wanted[part], outputs, strict=True)]

    def _equalized(self, plain):
        for balance, how in ((False, "by their ranges"), (True, "by ranges and weights")):
            content, changed, known = equalize.equalize(plain.content, plain.seen, balance=balance)
            if changed:
                story = (f"equalized {changed} channels {how}",)
                yield _Float(content, activations.observe(content, self._batches), known, story)

    def _try(self, source, name):
        """Quantizes with ranges of one kind; returns the mean SQNR on the search part, -inf if it is no candidate."""
        self.tried += 1
        self._progress({"stage": "search the best quantization", "done": self.tried, "total": None})
        try:
            content = quantizer.quantize(_with_ranges(source, _RANGES[name]), *self._dtypes)
            found = structure.examine(Interpreter(content), quantization="int8")
        except ConversionError:
            return -math.inf
        if len(found.float_ops) > len(self._structure.float_ops) or found.partitions > self._structure.partitions:
            return -math.inf
        score = self.measure(content, "search")
        if _is_better(score, self._score) and _mean(score) > _mean(self._winner[1]):
            self._winner = content, score, (*source.story, f"{name} ranges")
        return _mean(score)


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


def _bound(arrays):
    return arrays if len(arrays) > 1 else arrays[0]


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
