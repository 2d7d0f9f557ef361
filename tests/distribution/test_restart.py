"""A job whose workers are killed in the middle of an epoch ends where one does that nobody disturbed."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow

SCRIPT = pathlib.Path(__file__).with_name("restart_script.py")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(folder, finished `tfopt launch`) of a job that lost worker 1 and then the chief, and then ran undisturbed."""
    folder = tmp_path_factory.mktemp("restart")
    command = [sys.executable, "-m", "tfopt", "launch", "-n", "2", "--threads-per-worker", "1", "--max-restarts", "2"]
    environment = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
    command += [str(SCRIPT), str(folder), "1", "0"]
    return folder, subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)


def test_the_job_ends_by_itself_and_names_who_died(finished):
    _, job = finished
    assert job.returncode == 0, job.stderr
    first, second = (line for line in job.stderr.splitlines() if line.startswith("[launch]"))
    assert "Worker 1 of 2 was killed by signal 9" in first and "restarting all workers (restart 1 of 2)" in first
    assert "Worker 0 of 2 was killed by signal 9" in second and "restarting all workers (restart 2 of 2)" in second
    begun = [line for line in job.stdout.splitlines() if "epoch" in line]
    assert begun == [f"[worker 1] epoch {epoch}" for epoch in (1, 2, 3)] + ["[worker 0] epoch 3"]  # it went on


@pytest.mark.parametrize("worker", [0, 1])
def test_the_end_is_that_of_a_run_without_a_fault(finished, worker):
    folder, job = finished
    assert job.returncode == 0, job.stderr
    expected, found = (np.load(folder / f"{name}-{worker}.npz") for name in ("whole", "killed"))
    assert expected.files == found.files and len(expected.files) > 10
    for name in expected.files:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_all_workers_end_alike(finished):
    folder, _ = finished
    chief, other = (np.load(folder / f"whole-{worker}.npz") for worker in (0, 1))
    moved = [name for name in chief.files if not np.array_equal(chief[name], other[name])]
    assert not moved
