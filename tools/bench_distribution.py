"""Measures what two workers gain over one worker for the same work, and the parts of their step.

    python tools/bench_distribution.py [--batch 128] [--rounds 7] [--steps 20] [--json FILE]

A CNN for images of 32 x 32 that is bound by its computation trains through `fit` in processes of `tfopt launch
--threads-per-worker 1`, each on a CPU of its own. A step works on a global batch of 2 b images (--batch). Four ways to do this work
take turns in each round:

    t1     one worker takes all 2 b images, without a strategy
    half   one worker takes b images, without a strategy
    apart  two independent processes take b images each at the same time, which shows the cost of sharing the machine
    t2     two workers take b images each under tfopt.strategy("multi_worker"), and add up their gradients

All processes stay alive; they sleep when it is not their turn. Times are medians over all steps and rounds, and of two workers the
median of the slower one. Printed are `efficiency = t1 / (2 t2)`, which must be at least 0.85, and the parts of t2: computation
`half`, sharing the machine `apart - half`, communication `t2 - apart`. After their steps of a round, the two workers of t2 time
all-reduces of several sizes; `tools/predict_scaling.py` predicts the effect of more workers from these times.

Exits with 1 if the efficiency is below the bar. Let nothing else run on the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

BAR = 0.85
WORKER = pathlib.Path(__file__).with_name("distribution_worker.py")


class Side:
    """A job that stays alive and trains when it is asked to.

    Args:
        folder: where the job and this process exchange files.
        name: of the side: "t1", "half", "apart" or "t2".
        workers: 1 or 2.
        arguments: of `distribution_worker.py` after FOLDER and NAME.
    """

    def __init__(self, folder: pathlib.Path, name: str, workers: int, arguments: list[str | int]) -> None:
        self.folder, self.name, self.workers = folder, name, workers
        self.rounds: list[list[dict[str, Any]]] = []  # the answers of a round, by worker
        arguments = [str(WORKER), str(folder), name, *arguments]
        command = [sys.executable, "-m", "tfopt", "launch", "-n", workers, "--threads-per-worker", 1, *arguments]
        self.log = open(folder / f"{name}.log", "wb")  # noqa: SIM115 (until the process ends)
        environment = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
        self.process = subprocess.Popen(list(map(str, command)), stdout=self.log, stderr=self.log, env=environment)

    def run(self, index: int) -> list[dict[str, Any]]:
        """Runs one round, and returns its answers by worker."""
        (self.folder / f"{self.name}.go.{index}").touch()
        files = [self.folder / f"{self.name}.done.{index}.{worker}.json" for worker in range(self.workers)]
        while not all(file.exists() for file in files):
            if self.process.poll() is not None and not all(file.exists() for file in files):
                sys.exit(
                    f"{self.name} ended with exit code {self.process.returncode}:\n{(self.folder / self.log.name).read_text()}"
                )
            time.sleep(0.01)
        answers = [json.loads(file.read_text()) for file in files]
        if index:
            self.rounds.append(answers)
        return answers

    def close(self) -> None:
        """Ends the job."""
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def medians(self) -> list[float]:
        """Returns the median seconds of a step by round; with two workers, the median of the slower one."""
        return [max(statistics.median(answer["seconds"]) for answer in answers) for answers in self.rounds]

    def step(self) -> float:
        """Returns the median seconds of a step over all rounds; with two workers, the median of the slower one."""
        by_worker = zip(*self.rounds, strict=True)
        return max(statistics.median(second for answer in answers for second in answer["seconds"]) for answers in by_worker)

    def least(self) -> float:
        """Returns the least seconds of a step over all rounds; with two workers, those of the slower one."""
        by_worker = zip(*self.rounds, strict=True)
        return max(min(second for answer in answers for second in answer["seconds"]) for answers in by_worker)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Runs all rounds of all sides, and returns the dict that `--json` writes."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        kinds = {
            "t1": (1, options.batch, "alone"),
            "half": (1, options.batch // 2, "alone"),
            "apart": (2, options.batch // 2, "alone"),
            "t2": (2, options.batch, "together"),  # the strategy gives each worker its part of the batch
        }
        sides = {}
        for name, (workers, batch, kind) in kinds.items():
            sides[name] = Side(pathlib.Path(folder), name, workers, [batch, kind, options.rounds, options.steps])
            stack.callback(sides[name].close)
        for index in range(options.rounds + 1):
            order = list(sides.values())
            for side in order if index % 2 else reversed(order):
                side.run(index)
            if sys.stderr.isatty():
                print(f"round {index} of {options.rounds}", end="\r", file=sys.stderr)
    probes = [answer["all_reduce"] for answers in sides["t2"].rounds for answer in answers]
    return {
        "batch": options.batch,
        "rounds": options.rounds,
        "steps": options.steps,
        "gradient_bytes": 4 * sides["t1"].rounds[0][0]["trainable"],
        "seconds": {name: side.step() for name, side in sides.items()},
        "least_seconds": {name: side.least() for name, side in sides.items()},
        "seconds_by_round": {name: side.medians() for name, side in sides.items()},
        "cpus_used": {
            name: statistics.median(answer["cpu"] for answers in side.rounds for answer in answers) for name, side in sides.items()
        },
        "all_reduce_seconds": {size: statistics.median(each[size] for each in probes) for size in probes[0]},
        "machine": f"{cpu_name()}, {os.cpu_count()} CPUs",
    }


def cpu_name() -> str:
    """Returns the name of the CPU if Linux knows it, else its architecture."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def print_tables(found: dict[str, Any]) -> bool:
    """Prints times and shares, and returns whether the bar is reached."""
    seconds, least, by_round = found["seconds"], found["least_seconds"], found["seconds_by_round"]
    half = found["batch"] // 2
    print(
        f"{found['gradient_bytes']:,} bytes of gradients; {found['rounds']} rounds of {found['steps']} steps; {found['machine']}\n"
    )
    labels = {
        "t1": f"one worker, {found['batch']} images",
        "half": f"one worker, {half} images",
        "apart": f"two processes apart, {half} images each",
        "t2": f"two workers together, {half} images each",
    }
    print(f"{'ms of a step':46}{'median':>9}{'of rounds':>18}{'minimum':>9}{'CPUs used':>11}")
    for name, label in labels.items():
        spread = f"{1000 * min(by_round[name]):.1f}..{1000 * max(by_round[name]):.1f}"
        print(
            f"{name:6}{label:40}{1000 * seconds[name]:>9.1f}{spread:>18}{1000 * least[name]:>9.1f}{found['cpus_used'][name]:>11.2f}"
        )
    if found["cpus_used"]["t1"] < 0.9:
        print("note: one worker alone did not get a whole CPU. Another program runs here, so these times prove nothing.")
    parts = {
        "computation": seconds["half"],
        "sharing the machine": seconds["apart"] - seconds["half"],
        "communication": seconds["t2"] - seconds["apart"],
    }
    print()
    for name, part in parts.items():
        print(f"{name:22}{1000 * part:>8.1f} ms{100 * part / seconds['t2']:>8.1f} % of t2")
    efficiencies = [one / (2 * two) for one, two in zip(by_round["t1"], by_round["t2"], strict=True)]
    efficiency = seconds["t1"] / (2 * seconds["t2"])
    reached = efficiency >= BAR
    spread = f"{min(efficiencies):.3f}..{max(efficiencies):.3f} of rounds, {least['t1'] / (2 * least['t2']):.3f} of minima"
    print(f"\nefficiency t1 / (2 t2) {efficiency:.3f} ({spread}), at least {BAR} required: {'reached' if reached else 'MISSED'}")
    return reached


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128, help="images of a step, of all workers together; even")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20, help="steps of each side in a round")
    parser.add_argument("--json", metavar="FILE", help="write the measurement to FILE, for tools/predict_scaling.py")
    options = parser.parse_args()
    if options.batch < 2 or options.batch % 2 or options.rounds < 1 or options.steps < 1:
        parser.error("--batch must be even and at least 2, --rounds and --steps at least 1")
    found = measure(options)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(found, indent=1))
    sys.exit(0 if print_tables(found) else 1)


if __name__ == "__main__":
    main()
