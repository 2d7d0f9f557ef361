"""`benchmark()`: how long one run of a TFLite file takes, and how many bytes it has."""

from __future__ import annotations

import dataclasses
import gzip
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from tfopt.checking.comparison import batches
from tfopt.checking.reference import interpreter_specs
from tfopt.checking.settings import BenchmarkRequest, BenchmarkSettings
from tfopt.data.open_samples import open_samples
from tfopt.data.samples import Samples
from tfopt.data.scaling import Scale, require_folder
from tfopt.files import PathLike
from tfopt.progress import Progress, ignore, progress_bar
from tfopt.reporting import report, summary
from tfopt.reporting.tables import Block, Summarized
from tfopt.reporting.units import byte_count, milliseconds
from tfopt.tflite.file import read_bytes
from tfopt.tflite.interpreter import Interpreter
from tfopt.tflite.probe import require_runnable

Inputs = Callable[[Interpreter], "Sequence[Any] | None"]


@dataclasses.dataclass(frozen=True)
class Timing:
    """Latency of one file in ms over all timed runs, and its size in bytes, as it is and packed by gzip."""

    minimum: float
    median: float
    p90: float
    bytes: int
    gzip_bytes: int


@dataclasses.dataclass(frozen=True, repr=False)
class BenchmarkResult(Summarized):
    """The measurements of `benchmark`. `print(result)` prints the table of the command line, and a notebook shows it.

    Attributes:
        tflite: the measurements of the file.
        against: the measurements of the other file; None if only one file was timed.
        speedup: median latency of the other file divided by the file's median latency; above 1 the file is the faster one. None if
            only one file was timed.
        threads: threads of the CPU kernels.
        runs: timed runs of each file.
    """

    tflite: Timing
    against: Timing | None
    speedup: float | None
    threads: int
    runs: int

    def _summary(self) -> list[Block]:
        return list(summary.of_benchmark(report.to_dict(self), "the file", "the other file"))

    def __repr__(self) -> str:
        facts = [milliseconds(self.tflite.median), byte_count(self.tflite.bytes)]
        facts += [f"{self.speedup:.2f}x the other file"] if self.speedup else []
        return f"BenchmarkResult({', '.join(facts)})"


def benchmark(
    tflite: PathLike | bytes,
    *,
    against: PathLike | bytes | None = None,
    threads: int = 1,
    runs: int = 50,
    warmup: int = 5,
    data: Any = None,
    scale: Scale | None = None,
    allow_large: bool = False,
    verbose: bool = True,
) -> BenchmarkResult:
    """Times a TFLite file on this machine's CPU, on the first samples of the data, or on random numbers.

    With `against` the two files run in turn, A B A B ..., so that a drifting clock affects both alike.

    Example:

    ```python
    result = tfopt.benchmark("int8.tflite", against="float32.tflite")
    print(result)  # the table of the command line
    print(result.tflite.median, result.speedup)
    ```

    Args:
        tflite: path or bytes of a TFLite file.
        against: path or bytes of another file to compare with; None to time one file.
        threads: threads of the CPU kernels, >= 1.
        runs: timed runs of each file, >= 1.
        warmup: runs of each file before the timed ones, >= 0.
        data: None, or anything that `open_samples.open_samples` takes, whose first samples are the inputs. Default: random
            numbers for inputs in real units, and zeros for integers. A model that divides by such an input needs real samples.
        scale: the range that the pixels of a folder of images are brought to.
        allow_large: whether the content of a file may take any memory: see `load`.
        verbose: whether a progress bar is drawn on a terminal or in a notebook.

    Returns:
        The latencies and sizes. LiteRT's Python interpreter does not report the size of its arena, so memory is not part of them.

    Raises:
        LoadError: a file cannot be read.
        ConversionError: the runtime lacks an op that a file uses.
        RunError: a file does not run on its inputs, or ends the process that runs it.
        DataError: the data are missing or damaged, or do not fit a file.
        ArgumentError: an argument has a value that cannot be used.
    """
    settings = BenchmarkSettings(threads=threads, runs=runs, warmup=warmup)
    with progress_bar(verbose) as progress:
        models = [model for model in (tflite, against) if model is not None]
        return measure(models, settings, inputs=_foreign_inputs(models, data, scale, allow_large), progress=progress)


def benchmark_file(request: str, progress: Progress) -> dict[str, Any]:
    """Times files in this process, which the command line starts as a child.

    Args:
        request: a `BenchmarkRequest` as JSON.
        progress: called with {"stage", "done", "total"}.

    Returns:
        The result as JSON types.
    """
    asked = BenchmarkRequest.from_json(request)
    models = [asked.tflite, *([] if asked.against is None else [asked.against])]
    inputs = _foreign_inputs(models, asked.data, asked.scale, asked.allow_large)
    return report.to_dict(measure(models, asked.settings, inputs=inputs, progress=progress))


def _foreign_inputs(models: Sequence[PathLike | bytes], data: Any, scale: Scale | None, allow_large: bool) -> list[Inputs]:
    """The inputs of each file, on which another process ran it."""
    require_folder(scale, data)
    inputs: list[Inputs] = []
    for model in models:
        interpreter = Interpreter(model, probe=True, allow_large=allow_large)
        samples = None
        if data is not None:
            samples = open_samples(data, interpreter_specs(interpreter), scale=scale, allow_large=allow_large)
        batch = first_batch(interpreter, samples)
        require_runnable(model, batch, allow_large=allow_large)
        inputs.append(_always(batch))
    return inputs


def _always(batch: list[Any] | None) -> Inputs:
    return lambda interpreter: batch


def first_batch(interpreter: Interpreter, samples: Samples | None) -> list[Any] | None:
    """The first samples for a file, one array for each input; None without samples."""
    if samples is None:
        return None
    batch, _ = next(batches(interpreter, enumerate(samples.read())))
    return [batch[name] for name in interpreter.input_names]


def packed_size(content: bytes) -> int:
    """The size of `content` in gzip, at its default level."""
    return len(gzip.compress(content, compresslevel=6, mtime=0))


def measure(
    models: Sequence[PathLike | bytes],
    settings: BenchmarkSettings,
    *,
    inputs: Sequence[Inputs],
    packed_size: Callable[[bytes], int] = packed_size,
    progress: Progress = ignore,
) -> BenchmarkResult:
    """Times one file, or two in turn.

    Args:
        models: path or bytes of the file, and of the other file if there is one.
        settings: how to time.
        inputs: for each file a function from its interpreter to one array for each of its inputs, in real units, or to None for
            random numbers.
        packed_size: a function from the bytes of a file to its size in gzip, in bytes.
        progress: called with {"stage", "done", "total"}.
    """
    progress({"stage": "benchmark"})
    contents = [read_bytes(model, allow_large=True) for model in models]
    # They were opened before, with the bounds of the caller.
    interpreters = [Interpreter(model, threads=settings.threads, allow_large=True) for model in contents]
    for interpreter, draw in zip(interpreters, inputs, strict=True):
        batch = draw(interpreter)
        if batch is None:
            interpreter.invoke(seed=0)
        else:
            interpreter.feed(batch)
            interpreter.invoke()
        for _ in range(settings.warmup - 1):
            interpreter.invoke()
    times: list[list[float]] = [[] for _ in interpreters]
    for done in range(settings.runs):
        for interpreter, measured in zip(interpreters, times, strict=True):
            start = time.perf_counter()
            interpreter.invoke()
            measured.append(1000 * (time.perf_counter() - start))
        progress({"stage": "benchmark", "done": done + 1, "total": settings.runs})
    timings = [_timing(own, content, packed_size(content)) for own, content in zip(times, contents, strict=True)]
    other = timings[1] if timings[1:] else None
    speedup = other.median / timings[0].median if other else None
    return BenchmarkResult(timings[0], other, speedup, settings.threads, settings.runs)


def _timing(times: Sequence[float], content: bytes, gzip_bytes: int) -> Timing:
    p90 = statistics.quantiles(times, n=10, method="inclusive")[-1] if len(times) > 1 else times[0]
    return Timing(min(times), statistics.median(times), p90, len(content), gzip_bytes)
