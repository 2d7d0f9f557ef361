"""Damaged and hostile files, thousands of them, seeded: each must load or be refused by one of tfopt's errors.

    python tools/fuzz_load.py --count 300
    python tools/fuzz_load.py --count 3000 --jobs 2      # the whole run

Files of each kind are damaged in their bytes and in their structure, and read in child processes: models (`.keras`, `.h5`,
SavedModel folders), `.tflite`, data (`.npy`, `.npz`, images), and Python files with custom objects. The tool fails (exit 1) if a
process dies, an exception is not one of tfopt's, a file takes too long, or code from a file ran. Files that failed are kept in
--keep. It needs the package `hypothesis`.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
KINDS = (".keras", ".h5", "saved_model", ".tflite", ".npy", ".npz", "image", "custom_objects")
FILES_A_CHILD = 120  # then a fresh child, as TensorFlow keeps everything that was built


class Reader:
    """Reads files in child processes, a new one after `FILES_A_CHILD` files or a failure. A context manager.

    Args:
        flag: file that hostile files would write.
        timeout: seconds that a file may take.

    Attributes:
        peak: most memory of a process in MiB.
    """

    def __init__(self, flag: pathlib.Path, timeout: float) -> None:
        self._flag, self._timeout = flag, timeout
        self._child: Any = None
        self._used, self.peak = 0, 0.0

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child:
            self._child.__exit__()
        self._child, self._used = None, 0

    def read(self, path: pathlib.Path, kind: str, *, inspect: bool) -> tuple[str, str]:
        """Reads one file.

        Returns:
            (outcome, description of the failure or "")
        """
        from config_trees import Attempt

        from tfopt import errors, isolation

        if self._child is None or self._used >= FILES_A_CHILD:
            self.__exit__()
            self._child = isolation.Child(preload="tfopt.loading.load")
        self._used += 1
        outcome = failure = ""
        try:
            timeout = self._timeout + (120 if self._used == 1 else 0)
            request = Attempt(str(path), inspect, kind)
            outcome = self._child.call("tests.child_functions:read_file", request, timeout=timeout, progress=self._note)
        except errors.ConversionError as error:
            outcome, failure = "hung" if "no end" in str(error) else "died", str(error)[:300]
            self.__exit__()
        except RuntimeError as error:
            outcome, failure = "unforeseen exception", str(error)[-1500:]
        if self._flag.exists():
            self._flag.unlink()
            outcome, failure = "code ran", "the file's code ran"
        return outcome, failure

    def _note(self, report: dict[str, Any]) -> None:
        self.peak = max(self.peak, report.get("peak", 0))


def fuzz(
    count: int,
    seed: int,
    *,
    timeout: float = 60.0,
    keep: str | None = None,
    with_legacy: bool = True,
    kinds: Sequence[str] = KINDS,
) -> tuple[collections.Counter[str], list[str], dict[str, float]]:
    """Reads damaged files.

    Args:
        count: how many of each kind.
        seed: of the damages.
        timeout: seconds that a file may take.
        keep: None or a folder for files that failed.
        with_legacy: as for `fuzz_seeds.make_seeds`.
        kinds: of the files.

    Returns:
        (how often each outcome came, descriptions of failures, most memory of a process in MiB by kind)
    """
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "loading"), str(ROOT / "tools")]
    outcomes: collections.Counter[str] = collections.Counter()
    failures: list[str] = []
    peaks = {}
    with tempfile.TemporaryDirectory(prefix="tfopt-fuzz-") as name:
        folder = pathlib.Path(name)
        (folder / "seeds").mkdir()
        from fuzz_seeds import make_seeds

        seeds = make_seeds(folder / "seeds", kinds, with_legacy=with_legacy)
        for kind in kinds:
            with Reader(folder / "code-ran", timeout) as reader:
                _fuzz_kind(kind, seeds[kind], count, seed, folder, reader, outcomes, failures, keep)
            peaks[kind] = reader.peak
    return outcomes, failures, peaks


def _fuzz_kind(
    kind: str, seeds: list[pathlib.Path], count: int, seed: int, folder: pathlib.Path, reader: Reader,
    outcomes: collections.Counter[str], failures: list[str], keep: str | None,
) -> None:  # fmt: skip
    import hypothesis
    from fuzz_damage import damage
    from hypothesis import strategies as st

    numbers = iter(range(10**9))

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count, database=None, deadline=None, phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(st.data())
    def read_one(data: Any) -> None:
        number = next(numbers)
        source = data.draw(st.sampled_from(seeds))
        path = folder / f"{number:05d}{source.suffix}"
        what = damage(source, path, kind, str(folder / "code-ran"), data)
        outcome, failure = reader.read(path, kind, inspect=number % 5 == 0)
        outcomes[f"{kind} {outcome}"] += 1
        if failure:
            failures.append(f"#{number} {source.parent.name}/{source.name}: {what}: {outcome}: {failure}")
            if keep:
                pathlib.Path(keep).mkdir(exist_ok=True, parents=True)
                (shutil.copytree if path.is_dir() else shutil.copy)(path, pathlib.Path(keep) / f"{kind.strip('.')}-{path.name}")
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    read_one()


def main() -> None:
    """Runs the tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="files of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds a file")
    parser.add_argument("--keep", help="folder for files that failed")
    parser.add_argument("--only", nargs="*", default=KINDS, choices=KINDS, help="kinds of files")
    parser.add_argument("--jobs", type=int, default=1, help="kinds that are read at the same time")
    options = parser.parse_args()
    if options.jobs > 1:
        sys.exit(_run_jobs(options))
    begin = time.monotonic()
    outcomes, failures, peaks = fuzz(options.count, options.seed, timeout=options.timeout, keep=options.keep, kinds=options.only)
    for outcome, number in sorted(outcomes.items()):
        print(f"{number:6d}  {outcome}")
    for failure in failures:
        print(failure)
    memory = ", ".join(f"{kind} {peak:.0f} MiB" for kind, peak in peaks.items())
    print(f"{sum(outcomes.values())} files, {len(failures)} failures, {time.monotonic() - begin:.0f} s, most memory: {memory}")
    sys.exit(1 if failures else 0)


def _run_jobs(options: argparse.Namespace) -> int:
    """Runs the tool once for each kind, some at a time; returns the exit code."""

    def run(kind: str) -> int:
        command = [sys.executable, __file__, "--only", kind, "--count", str(options.count), "--seed", str(options.seed)]
        command += ["--timeout", str(options.timeout), *(["--keep", options.keep] if options.keep else [])]
        finished = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        print(finished.stdout, end="", flush=True)
        return finished.returncode

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        return max(pool.map(run, options.only))


if __name__ == "__main__":
    main()
