"""The runs of `replicas.py`, which the tests of this folder share."""

import dataclasses
import fcntl
import os
import pathlib
import subprocess
import sys

import pytest
from workers import launch

SCRIPT = pathlib.Path(__file__).with_name("replicas.py")
PARTS = {
    "multi_worker": ("equivalence", "plain_keras"),
    "multi_worker_long": ("compression", "one_program", "optimizers", "uneven"),
    "mirrored": ("optimizers_few", "placed", "saved", "uneven_few"),
    "mirrored_long": ("compression", "equivalence", "optimizers", "uneven"),
}
"""The modules that each run of the program goes through; the long ones are for the slow tests."""


@dataclasses.dataclass(frozen=True)
class Replicas:
    """A run of `replicas.py` that ended well: its folder, with one folder for each part, and its output."""

    folder: pathlib.Path
    output: str


@pytest.fixture(scope="session")
def run_replicas(tmp_path_factory):
    """Function of a name in `PARTS` that returns `Replicas`; each runs once for all processes of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def run(name):
        folder, output = base / name, base / f"{name}.output"
        with open(base / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                for part in PARTS[name]:
                    (folder / part).mkdir(parents=True)
                output.write_text(_run(name, folder))
        assert output.exists(), f"{SCRIPT.name} {name} failed, in the first test that asked for it"
        return Replicas(folder, output.read_text())

    return run


def _run(name, folder):
    kind = name.removesuffix("_long")
    if kind == "multi_worker":
        return launch(2, SCRIPT, kind, folder, *PARTS[name])
    command = [sys.executable, SCRIPT, kind, folder, *PARTS[name]]
    finished = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1800)
    assert finished.returncode == 0, finished.stdout
    return finished.stdout
