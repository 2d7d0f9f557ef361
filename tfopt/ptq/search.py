"""`ptq="best"`: try several ways to quantize without training, and keep the one that is measured to be the best."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfopt.errors import ConversionError
from tfopt.progress import Progress, ignore
from tfopt.ptq import observe, quantizer
from tfopt.ptq.observe import Batch, Batches
from tfopt.ptq.range_choice import RANGES
from tfopt.ptq.recipes import EQUALIZED, Recipe, Workshop
from tfopt.tflite import flatbuffer, op_audit
from tfopt.tflite.interpreter import Interpreter

if TYPE_CHECKING:
    import tensorflow as tf

Samples = Mapping[str, npt.NDArray[Any]]
"""Arrays (n, ...) by input name."""

MODES = ("default", "best")
MIN_SAMPLES = 8
MIN_GAIN = 0.5  # dB; less is chance
_EXACT = 150.0  # dB, instead of infinity


def best(
    default: bytes,
    converter: Callable[[Samples], tf.lite.TFLiteConverter],
    names: Sequence[str],
    samples: Samples,
    *,
    in_default: Callable[[bytes, Batches], bytes],
    progress: Progress = ignore,
) -> tuple[bytes, tuple[str, ...]]:
    """Looks for a better int8 file than the default one.

    A quarter of the samples is held out. The others give the ranges, equalize channels and correct biases, and the SQNR of each
    candidate is measured on them against the float file. The winner must beat the default way, which saw the same samples, on the
    samples held out. Then it is made once more from all samples, as the default file is, and must beat that file too. No output may
    lose.

    Args:
        default: the int8 file that the converter makes from all samples.
        converter: a function from samples to a converter that calibrates with them.
        names: the inputs in the file's order.
        samples: to calibrate and to measure with.
        in_default: a function from a calibrated file and its samples to the file with the ranges that the default way chooses.
        progress: called with {"stage", "done"} before each candidate.

    Returns:
        (an int8 file, notes: what was done, and what it brought).
    """
    count = len(samples[names[0]])
    if count < MIN_SAMPLES:
        return default, (f"ptq best: {count} samples are too few to choose by (at least {MIN_SAMPLES} are needed): default kept",)
    order, held = np.random.default_rng(0).permutation(count), count // 4
    rows = {"search": order[held:], "held": order[:held], "all": order}
    parts = {part: {name: samples[name][chosen] for name in names} for part, chosen in rows.items()}
    search_converter = converter(parts["search"])
    dtypes = search_converter.inference_input_type, search_converter.inference_output_type
    calibrated = quantizer.collect_ranges(search_converter)
    obstacle = _obstacle(calibrated)
    if obstacle:
        return default, (f"ptq best: {obstacle}: default kept",)
    judge = _Judge(calibrated, default, {part: list(arrays.values()) for part, arrays in parts.items()})
    workshop = Workshop(calibrated, judge.batches["search"], dtypes)
    rival = quantizer.quantize(in_default(calibrated, judge.batches["search"]), *dtypes)
    recipe, content, tried = _search(workshop, judge, rival, progress)
    if recipe is None:
        return default, (f"ptq best: none of {tried} candidates was better than the default: default kept",)
    before, after = judge.measure(rival, "held"), judge.measure(content, "held")
    told = (
        f"ptq best: {workshop.tell(recipe)}: {_mean(after):.1f} dB against {_mean(before):.1f} dB of the default on {held} "
        f"held-out samples, the best of {tried} candidates"
    )
    if not is_better(after, before):
        return default, (f"{told}: default kept",)
    content = Workshop(calibrated, judge.batches["all"], dtypes).make(recipe)
    if not judge.accepts(content) or not all(
        is_better(judge.measure(content, part), judge.measure(default, part)) for part in ("held", "all")
    ):
        return default, (f"{told}, but no better than the default with the ranges of all samples: default kept",)
    return content, (f"{told}; then made again from all {count} samples",)


def is_better(score: Sequence[float], than: Sequence[float]) -> bool:
    """Whether the mean SQNR of the outputs gains at least `MIN_GAIN`, and none of them loses.

    Args:
        score, than: dB of each output.
    """
    return _mean(score) >= _mean(than) + MIN_GAIN and all(one >= other for one, other in zip(score, than, strict=True))


def _search(workshop: Workshop, judge: _Judge, rival: bytes, progress: Progress) -> tuple[Recipe | None, bytes, int]:
    """Tries recipes; each step starts from the best recipe before.

    Returns:
        (recipe, or None if none is better than the rival; its file; number of recipes).
    """
    goal = judge.measure(rival, "search")
    scores: dict[Recipe, float] = {}
    contents: dict[Recipe, bytes] = {}

    def attempt(recipes: Iterable[Recipe]) -> Recipe:
        for recipe in recipes:
            progress({"stage": "search the best quantization", "done": len(scores) + 1})
            contents[recipe] = content = workshop.make(recipe)
            score = judge.measure(content, "search") if judge.accepts(content) else None
            scores[recipe] = _mean(score) if score and is_better(score, goal) else -math.inf
        return max(scores, key=lambda recipe: scores[recipe])

    first, second, *others = RANGES
    equalized = ["", *filter(workshop.gains, EQUALIZED)]
    chosen = attempt(Recipe(how, kind) for how in equalized for kind in (first, second))
    chosen = attempt(Recipe(chosen.equalized, kind) for kind in others)
    chosen = attempt([dataclasses.replace(chosen, corrected=True)])
    return (chosen if scores[chosen] > -math.inf else None), contents[chosen], len(scores)


class _Judge:
    """Measures int8 files against the float file, on parts of the samples.

    Args:
        reference: the float file.
        default: the default int8 file.
        parts: name of a part -> arrays (n, ...), one for each input in the file's order.

    Attributes:
        batches: name of a part -> its samples.
    """

    def __init__(self, reference: bytes, default: bytes, parts: Mapping[str, Sequence[npt.NDArray[Any]]]) -> None:
        run = Interpreter(reference)
        self.batches = {part: observe.as_batches(arrays, run.batch_size) for part, arrays in parts.items()}
        self._wanted = {part: _outputs(run, batches) for part, batches in self.batches.items()}
        self._structure = op_audit.examine(Interpreter(default), quantization="int8")

    def accepts(self, content: bytes) -> bool:
        """Whether the kernels take a file, and it has no more float operations and delegate partitions than the default."""
        try:
            found = op_audit.examine(Interpreter(content), quantization="int8")
        except ConversionError:  # some combinations of scales are beyond them
            return False
        return len(found.float_ops) <= len(self._structure.float_ops) and found.partitions <= self._structure.partitions

    def measure(self, content: bytes, part: str) -> list[float]:
        """SQNR in dB of each output of a file on a part of the samples."""
        outputs = _outputs(Interpreter(content), self.batches[part])
        return [_sqnr(wanted, output) for wanted, output in zip(self._wanted[part], outputs, strict=True)]


def _obstacle(calibrated: bytes) -> str | None:
    """Why a float file cannot be worked on, or None."""
    graph = flatbuffer.parse(calibrated)
    if graph.subgraphs > 1:
        return "the model has control flow"
    if any(operator.name in ("QUANTIZE", "DEQUANTIZE", "FAKE_QUANT") for operator in graph.operators):
        return "the model was trained with quantization and keeps its ranges"
    return None


def _outputs(run: Interpreter, batches: Sequence[Batch]) -> list[npt.NDArray[Any]]:
    """The outputs of a file over all batches, (batches, batch size, ...), one array for each output."""
    collected = [run.run(tuple(batch)) for batch in batches]
    return [np.stack(values) for values in zip(*collected, strict=True)]


def _sqnr(wanted: npt.NDArray[Any], output: npt.NDArray[Any]) -> float:
    """Signal to quantization noise of one output, in dB, between -150 and 150."""
    wanted, output = wanted.astype(np.float64), output.astype(np.float64)
    noise, signal = float(((wanted - output) ** 2).sum()), float((wanted**2).sum())
    if noise == 0:
        return _EXACT
    return min(10 * math.log10(signal / noise), _EXACT) if signal > 0 and math.isfinite(noise) else -_EXACT


def _mean(score: Sequence[float]) -> float:
    return sum(score) / len(score)
