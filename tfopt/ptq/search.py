"""`ptq="best"`: try several ways to quantize without training, and keep the one that is measured to be the best."""

import dataclasses
import math

import numpy as np

from tfopt.errors import ConversionError
from tfopt.ptq import observe, quantizer
from tfopt.ptq.recipes import EQUALIZED, RANGES, Recipe, Workshop
from tfopt.tflite import flatbuffer, op_audit
from tfopt.tflite.interpreter import Interpreter

MODES = ("default", "best")
MIN_SAMPLES = 8
MIN_GAIN = 0.5  # dB; less is chance
_EXACT = 150.0  # dB, in the stead of infinity


def best(default, converter, names, samples, *, in_default, progress=None):
    """Looks for a better int8 file than the default one.

    A quarter of the samples is held out. On the others ranges are taken, channels equalized, biases corrected, and the SQNR of
    each candidate is measured against the float file. The winner has to beat the default way, which saw the same samples, on those
    held out. Then it is made once more from all samples, as the default file is, and has to beat that too: no output may lose.

    Args:
        default: bytes of the int8 file that the converter makes from all samples.
        converter: function from samples to a `tf.lite.TFLiteConverter` that calibrates with them.
        names: list of str, the inputs in the file's order.
        samples: dict of input name -> array (n, ...).
        in_default: function from (calibrated file, batches) to the calibrated file whose ranges the default way takes.
        progress: None or a function that is called with {"stage", "done", "total"}.

    Returns:
        (bytes of an int8 file, tuple of str: what was done, and what it brought).
    """
    count = len(samples[names[0]])
    if count < MIN_SAMPLES:
        return default, (f"ptq best: {count} samples are too few to choose by, at least {MIN_SAMPLES} are needed: default kept",)
    order, held = np.random.default_rng(0).permutation(count), count // 4
    parts = {"search": order[held:], "held": order[:held], "all": order}
    parts = {part: {name: samples[name][rows] for name in names} for part, rows in parts.items()}
    search_converter = converter(parts["search"])
    dtypes = search_converter.inference_input_type, search_converter.inference_output_type
    calibrated = quantizer.calibrate(search_converter)
    obstacle = _obstacle(calibrated)
    if obstacle:
        return default, (f"ptq best: {obstacle}: default kept",)
    judge = _Judge(calibrated, default, {part: list(arrays.values()) for part, arrays in parts.items()})
    workshop = Workshop(calibrated, judge.batches["search"], dtypes)
    rival = quantizer.quantize(in_default(calibrated, judge.batches["search"]), *dtypes)
    recipe, content, tried = _search(workshop, judge, rival, progress)
    if recipe is None:
        return default, (f"ptq best: none of {tried} candidates was better than default: default kept",)
    before, after = judge.measure(rival, "held"), judge.measure(content, "held")
    told = (
        f"ptq best: {workshop.tell(recipe)}: {_mean(after):.1f} dB against {_mean(before):.1f} dB of default on {held} held-out "
        f"samples, the best of {tried} candidates"
    )
    if not is_better(after, before):
        return default, (f"{told}: default kept",)
    content = Workshop(calibrated, judge.batches["all"], dtypes).make(recipe)
    if not judge.accepts(content) or not all(
        is_better(judge.measure(content, part), judge.measure(default, part)) for part in ("held", "all")
    ):
        return default, (f"{told}, but no better than default with the ranges of all samples: default kept",)
    return content, (f"{told}; then made again from all {count} samples",)


def is_better(score, than):
    """Whether the mean of the outputs' SQNR gains, and none of them loses."""
    return _mean(score) >= _mean(than) + MIN_GAIN and all(one >= other for one, other in zip(score, than, strict=True))


def _search(workshop, judge, rival, progress):
    """Tries recipes, each step building on the best before.

    Returns:
        (recipe or None if none is better than the rival, its bytes, number of recipes).
    """
    goal = judge.measure(rival, "search")
    scores, contents = {}, {}

    def attempt(recipes):
        for recipe in recipes:
            if progress:
                progress({"stage": "search the best quantization", "done": len(scores) + 1})
            contents[recipe] = content = workshop.make(recipe)
            score = judge.measure(content, "search") if judge.accepts(content) else None
            scores[recipe] = _mean(score) if score and is_better(score, goal) else -math.inf
        return max(scores, key=scores.get)

    first, second, *others = RANGES
    equalized = ["", *filter(workshop.gains, EQUALIZED)]
    chosen = attempt(Recipe(how, kind) for how in equalized for kind in (first, second))
    chosen = attempt(Recipe(chosen.equalized, kind) for kind in others)
    chosen = attempt([dataclasses.replace(chosen, corrected=True)])
    return (chosen if scores[chosen] > -math.inf else None), contents[chosen], len(scores)


class _Judge:
    """Measures int8 files against the float file, on parts of the samples.

    Attributes:
        batches: dict of part -> list of lists of arrays.
    """

    def __init__(self, reference, default, parts):
        run = Interpreter(reference)
        self.batches = {part: observe.as_batches(arrays, run.batch_size) for part, arrays in parts.items()}
        self._wanted = {part: _outputs(run, batches) for part, batches in self.batches.items()}
        self._structure = op_audit.examine(Interpreter(default), quantization="int8")

    def accepts(self, content):
        """Whether a file has no more float ops and delegate partitions than the default, and the kernels take it."""
        try:
            found = op_audit.examine(Interpreter(content), quantization="int8")
        except ConversionError:  # some combinations of scales are beyond them
            return False
        return len(found.float_ops) <= len(self._structure.float_ops) and found.partitions <= self._structure.partitions

    def measure(self, content, part):
        """SQNR in dB of each output of a file on a part of the samples."""
        outputs = _outputs(Interpreter(content), self.batches[part])
        return [_sqnr(wanted, output) for wanted, output in zip(self._wanted[part], outputs, strict=True)]


def _obstacle(calibrated):
    """Why a float file cannot be worked on, or None."""
    graph = flatbuffer.parse(calibrated)
    if graph.subgraphs > 1:
        return "the model has control flow"
    if any(operator.name in ("QUANTIZE", "DEQUANTIZE", "FAKE_QUANT") for operator in graph.operators):
        return "the model was trained with quantization and keeps its ranges"
    return None


def _outputs(run, batches):
    """All that a file gives out, as one array for each output."""
    collected = [run.run(tuple(batch)) for batch in batches]
    return [np.stack(values) for values in zip(*collected, strict=True)]


def _sqnr(wanted, output):
    wanted, output = wanted.astype(np.float64), output.astype(np.float64)
    noise, signal = float(((wanted - output) ** 2).sum()), float((wanted**2).sum())
    if noise == 0:
        return _EXACT
    return min(10 * math.log10(signal / noise), _EXACT) if signal > 0 and math.isfinite(noise) else -_EXACT


def _mean(score):
    return sum(score) / len(score)
