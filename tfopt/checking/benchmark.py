"""`benchmark()`: how long one run of a TFLite file takes, and how many bytes it has."""

import dataclasses
import gzip
import statistics
import time

from tfopt.errors import ArgumentError
from tfopt.reporting import report
from tfopt.tflite.file import read_bytes
from tfopt.tflite.interpreter import Interpreter


@dataclasses.dataclass(frozen=True)
class Timing:
    """Latency of one file in ms over `runs` runs, and its size in bytes, raw and as gzip packs it."""

    minimum: float
    median: float
    p90: float
    bytes: int
    gzip_bytes: int


@dataclasses.dataclass(frozen=True)
class BenchmarkResult:
    """What `benchmark` measured.

    Attributes:
        tflite: `Timing` of the file.
        against: `Timing` of the other file, or None.
        speedup: float, median latency of `against` divided by that of the file; above 1 the file is the faster one.
        threads, runs: int, as asked for.
    """

    tflite: Timing
    against: Timing | None
    speedup: float | None
    threads: int
    runs: int


def benchmark(tflite, *, against=None, threads=1, runs=50, warmup=5, gzip_bytes=None, progress=None):
    """Times a TFLite file on this machine's CPU, on random inputs.

    With `against` the two files run in turn, A B A B ..., so that a clock that drifts meets both alike.

    Example:

    ```python
    result = tfopt.benchmark("int8.tflite", against="float32.tflite")
    print(result.tflite.median, result.speedup)
    ```

    Args:
        tflite: path or bytes of a TFLite file.
        against: None, or path or bytes of another one.
        threads: int >= 1, of the CPU kernels.
        runs: int >= 1, timed runs of each file.
        warmup: int >= 0, runs of each file that are not timed.
        gzip_bytes: None or a function from bytes to their size in gzip, for a caller that has packed them already.
        progress: None or a function that is called with {"stage", "done", "total"}.

    Returns:
        `BenchmarkResult`. LiteRT's Python interpreter does not tell the size of its arena, so memory is not in it.

    Raises:
        LoadError, ArgumentError.
    """
    for name, value, least in (("runs", runs, 1), ("warmup", warmup, 0)):
        if not isinstance(value, int) or value < least:
            raise ArgumentError(f"`{name}` must be an integer of at least {least}. Received: {name}={value!r}.")
    contents = [read_bytes(model) for model in (tflite, against) if model is not None]
    packed = [(gzip_bytes or packed_size)(content) for content in contents]
    interpreters = [Interpreter(content, threads=threads) for content in contents]
    for interpreter in interpreters:
        interpreter.invoke(seed=0)
        for _ in range(warmup - 1):
            interpreter.invoke()
    times = [[] for _ in interpreters]
    for done in range(runs):
        for interpreter, measured in zip(interpreters, times, strict=True):
            start = time.perf_counter()
            interpreter.invoke()
            measured.append(1000 * (time.perf_counter() - start))
        if progress:
            progress({"stage": "benchmark", "done": done + 1, "total": runs})
    timings = [_timing(*parts) for parts in zip(times, contents, packed, strict=True)]
    other = timings[1] if against is not None else None
    speedup = other.median / timings[0].median if other else None
    return BenchmarkResult(timings[0], other, speedup, threads, runs)


def benchmark_file(request, progress):
    """`benchmark` for a child process: takes its arguments as a dict and returns JSON types."""
    progress({"stage": "benchmark"})
    return report.to_dict(benchmark(**request, progress=progress))


def packed_size(content):
    """The size of `content` (bytes) in gzip, at its default level."""
    return len(gzip.compress(content, compresslevel=6, mtime=0))


def _timing(times, content, gzip_bytes):
    p90 = statistics.quantiles(times, n=10, method="inclusive")[-1] if len(times) > 1 else times[0]
    return Timing(min(times), statistics.median(times), p90, len(content), gzip_bytes)
