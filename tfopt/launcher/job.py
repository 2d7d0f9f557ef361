"""`Job`: the script that a launcher runs; `Run`: the cluster of one run of it; `Outcome`: how a run ended."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from tfopt import errors
from tfopt.launcher import rendezvous

# They size the thread pools of TensorFlow (the first two), of oneDNN with OpenMP, and of OpenBLAS and MKL below NumPy.
_THREAD_VARIABLES = (
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)


class Run(NamedTuple):
    """One run of the workers of a job, as one machine sees it.

    Attributes:
        cluster: the address HOST:PORT of every worker of the job.
        first: the index of this machine's first worker in `cluster`.
        restart: how often the job was started again before, from 0.
    """

    cluster: Sequence[str]
    first: int
    restart: int


class Outcome(NamedTuple):
    """How a run, or the job, ended.

    Attributes:
        code: 0, or the exit code of the worker that failed first; 128 + its number for a signal, as in a shell.
        reason: a sentence about the failure; "" if `code` is 0.
        again: whether a restart may help.
    """

    code: int
    reason: str = ""
    again: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """The script to run, in how many workers, and how often.

    Args:
        script: path of a Python file, or the name of a module.
        arguments: the arguments of the script.
        workers: 1 or more, the workers on this machine.
        module: whether `script` is the name of a module, as in `python -m`.
        threads_per_worker: 1 or more; None (default): TensorFlow chooses one thread for every CPU.
        max_restarts: 0 or more; the value of node 0 counts for all nodes.
        nodes: 1 or more, the machines that each run such a job.
        node_rank: the number of this machine, from 0 to `nodes - 1`.
        coordinator: HOST:PORT at which the other nodes reach node 0; None if there is one node.

    Raises:
        LaunchError: a number is out of its range, or the script does not exist.
    """

    script: str
    arguments: tuple[str, ...] = ()
    workers: int = 1
    module: bool = False
    threads_per_worker: int | None = None
    max_restarts: int = 0
    nodes: int = 1
    node_rank: int = 0
    coordinator: str | None = None

    def __post_init__(self) -> None:
        _require_at_least(1, "-n", self.workers)
        _require_at_least(1, "--threads-per-worker", 1 if self.threads_per_worker is None else self.threads_per_worker)
        _require_at_least(0, "--max-restarts", self.max_restarts)
        rendezvous.check_nodes(self.nodes, self.node_rank, self.coordinator)
        path = pathlib.Path(self.script)
        if not self.module and not (path.is_file() or (path / "__main__.py").is_file()):
            raise errors.LaunchError(
                f"The script must be a Python file. Received: {self.script!r}, which does not exist. "
                "Give its path, or `-m` and the name of a module."
            )

    def command(self) -> list[str]:
        """Returns the command line of a worker."""
        return [sys.executable, *(["-m"] if self.module else []), self.script, *self.arguments]

    def cpus(self, place: int) -> tuple[int, ...]:
        """Returns the CPUs of the worker at `place`, from 0, among the workers of this machine; an empty tuple means all CPUs."""
        threads, affinity = self.threads_per_worker, getattr(os, "sched_getaffinity", None)
        if not threads or not affinity:
            return ()
        cpus = sorted(affinity(0))
        if threads > len(cpus):
            return ()
        # TensorFlow has threads outside of its pools: a worker with pools of one thread that was not pinned used more than one CPU.
        return tuple(sorted({cpus[(place * threads + thread) % len(cpus)] for thread in range(threads)}))

    def environment(self, run: Run, index: int) -> dict[str, str]:
        """Returns the environment of the worker with this index in the cluster of a run."""
        threads = {} if self.threads_per_worker is None else dict.fromkeys(_THREAD_VARIABLES, str(self.threads_per_worker))
        return {
            "PYTHONUNBUFFERED": "1",  # Python would hold lines back in a pipe; a setting of the user takes precedence
            **os.environ,
            **threads,
            "TF_CONFIG": rendezvous.tf_config(run.cluster, index),
            "TFOPT_RESTART": str(run.restart),
        }


def _require_at_least(least: int, name: str, value: int) -> None:
    if value < least:
        raise errors.LaunchError(f"{name} must be {least} or more. Received: {value}. Leave it out for the default.")
