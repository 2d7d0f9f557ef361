"""Predicts the effect of more workers: fits a model of the cost of a step to a measurement of one and two workers.

    python tools/bench_distribution.py --json measured.json
    python tools/predict_scaling.py measured.json [--bandwidth GB/s] [--latency us] [--overlap SHARE] [--global-batch N]

The model, for n workers that take b samples each (docs/scaling.md explains it):

    C(b)    = c0 + c1 b                                    computation
    A(n)    = 2 (n - 1) L + 2 (n - 1) / n * V / B          ring all-reduce of V bytes of gradients
    T(n, b) = C(b) + A(n) - min(o A(n), 2/3 C(b))          the share o of A(n) runs during the backward pass, 2/3 of C

c0 and c1 come from one worker with two batch sizes, the latency L and the bandwidth B from all-reduces of several sizes between two
workers, the overlap o from the step of two workers. If the measured workers share one machine, L and B are those of this machine:
measure your network with `iperf3` and `ping`, and give its values instead.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

WORKERS = (1, 2, 8, 16, 32, 64, 128, 256, 512, 1024)
GOOD = 0.9  # the efficiency for which the number of accumulated batches is given


@dataclasses.dataclass(frozen=True)
class Cost:
    """The constants of the model, in seconds and bytes."""

    c0: float  # s, the part of a step that does not depend on its batch
    c1: float  # s per sample
    latency: float  # s, of one message of the ring
    bandwidth: float  # bytes per s
    overlap: float  # share of the all-reduce that can run during the backward pass, 0..1
    gradient_bytes: int

    def compute(self, batch: float) -> float:
        """Returns the seconds of computation for `batch` samples on one worker."""
        return self.c0 + self.c1 * batch

    def all_reduce(self, workers: int) -> float:
        """Returns the seconds of a ring all-reduce of the gradients."""
        return 2 * (workers - 1) * self.latency + 2 * (workers - 1) / workers * self.gradient_bytes / self.bandwidth

    def step(self, workers: int, batch: float, accumulate: int = 1) -> float:
        """Returns the seconds in which each worker takes `accumulate` batches of `batch` samples, and all add up gradients once."""
        compute, reduce = self.compute(batch), self.all_reduce(workers)
        return accumulate * compute + reduce - min(self.overlap * reduce, 2 / 3 * compute)

    def efficiency(self, workers: int, batch: float, accumulate: int = 1) -> float:
        """Returns samples per second and worker, divided by those of one worker alone."""
        return accumulate * self.compute(batch) / self.step(workers, batch, accumulate)


def fit(
    measured: Mapping[str, Any], *, bandwidth: float | None = None, latency: float | None = None, overlap: float | None = None
) -> Cost:
    """Fits the constants of the model to a measurement.

    Args:
        measured: the JSON of `bench_distribution.py`.
        bandwidth: bytes per s; None (default): as measured.
        latency: s; None (default): as measured.
        overlap: 0..1; None (default): as measured.
    """
    seconds, whole = measured["seconds"], measured["batch"]
    c1 = max(0.0, (seconds["t1"] - seconds["half"]) / (whole - whole // 2))
    c0 = max(0.0, seconds["half"] - c1 * (whole // 2))
    fixed, per_byte = line({int(size): time for size, time in measured["all_reduce_seconds"].items()})
    here = Cost(c0, c1, fixed / 2, 1 / per_byte, 0.0, measured["gradient_bytes"])  # for two workers, A = 2 L + V / B
    if overlap is None:
        shown = max(0.0, seconds["t2"] - seconds["apart"])
        overlap = min(1.0, max(0.0, 1 - shown / here.all_reduce(2)))
    return dataclasses.replace(
        here, overlap=overlap, latency=here.latency if latency is None else latency, bandwidth=bandwidth or here.bandwidth
    )


def line(points: Mapping[int, float]) -> tuple[float, float]:
    """Returns (a, b) of the line `a + b x` with the least squared relative errors at the points {x: y}; neither is negative."""
    weights = {x: 1 / y**2 for x, y in points.items()}
    total = sum(weights.values())
    mean_x = sum(weight * x for x, weight in weights.items()) / total
    mean_y = sum(weight * points[x] for x, weight in weights.items()) / total
    spread = sum(weight * (x - mean_x) ** 2 for x, weight in weights.items())
    slope = sum(weight * (x - mean_x) * (points[x] - mean_y) for x, weight in weights.items()) / spread
    slope = max(slope, 1e-15)
    return max(0.0, mean_y - slope * mean_x), slope


def smallest(good: Callable[[int], bool]) -> int | None:
    """Returns the smallest power of 2 up to 2^20 for which `good(factor)` holds, or None."""
    return next((1 << power for power in range(21) if good(1 << power)), None)


def print_report(cost: Cost, batch: int, global_batch: int, sample_bytes: int) -> None:
    """Prints the constants and the table of predictions."""
    print(
        f"computation {1000 * cost.c0:.2f} ms + {1000 * cost.c1:.3f} ms per sample, {cost.gradient_bytes:,} bytes of gradients,\n"
        f"latency {1e6 * cost.latency:.0f} us, bandwidth {cost.bandwidth / 1e9:.3f} GB/s, overlap {cost.overlap:.2f}\n"
    )
    print(f"weak scaling: {batch} samples per worker; strong: {global_batch} samples over all workers\n")
    head = ("ms of a", "all-reduce", "weak", "accumulate", "samples/s", "MB/s of", "ms of a", "strong", "strong")
    tail = ("step", "ms", "efficiency", f"for {GOOD}", "in all", "data", "step", "speed-up", "efficiency")
    for name, titles in (("workers", head), ("", tail)):
        print(f"{name:>7}" + "".join(f"{title:>12}" for title in titles))
    for workers in WORKERS:
        step, share = cost.step(workers, batch), global_batch / workers
        enough = smallest(lambda count, workers=workers: cost.efficiency(workers, batch, count) >= GOOD)
        rate = workers * batch / step
        row = [f"{1000 * step:.1f}", f"{1000 * cost.all_reduce(workers):.1f}", f"{cost.efficiency(workers, batch):.3f}"]
        row += [f"x {enough}" if enough else "-", f"{rate:,.0f}", f"{rate * sample_bytes / 1e6:,.1f}"]
        if share >= 1:
            speed_up = cost.compute(global_batch) / cost.step(workers, share)
            row += [f"{1000 * cost.step(workers, share):.1f}", f"{speed_up:.1f}", f"{speed_up / workers:.3f}"]
        else:
            row += ["-"] * 3  # a worker has less than one sample
        print(f"{workers:>7}" + "".join(f"{cell:>12}" for cell in row))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", metavar="FILE", help="JSON of tools/bench_distribution.py")
    parser.add_argument("--bandwidth", type=float, metavar="GB/s", help="of the network; default: as measured")
    parser.add_argument("--latency", type=float, metavar="us", help="of a message; default: as measured")
    parser.add_argument("--overlap", type=float, help="0..1; default: as measured")
    parser.add_argument("--gradient-mb", type=float, help="MB of gradients of another model with the same computation")
    parser.add_argument("--batch", type=int, help="samples per worker; default: half of the measured batch")
    parser.add_argument("--global-batch", type=int, help="samples of a step in strong scaling; default: 32 times --batch")
    parser.add_argument(
        "--sample-bytes", type=int, default=32 * 32 * 3 * 4, help="bytes of a sample that tf.data must deliver; default: the image"
    )
    options = parser.parse_args()
    if options.overlap is not None and not 0 <= options.overlap <= 1:
        parser.error("--overlap must be from 0 to 1")
    measured = json.loads(pathlib.Path(options.measured).read_text())
    if options.gradient_mb:
        measured["gradient_bytes"] = round(1e6 * options.gradient_mb)
    cost = fit(
        measured,
        bandwidth=options.bandwidth and 1e9 * options.bandwidth,
        latency=None if options.latency is None else 1e-6 * options.latency,
        overlap=options.overlap,
    )
    batch = options.batch or measured["batch"] // 2
    print(f"measured on {measured['machine']}: {measured['rounds']} rounds of {measured['steps']} steps")
    print_report(cost, batch, options.global_batch or 32 * batch, options.sample_bytes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
