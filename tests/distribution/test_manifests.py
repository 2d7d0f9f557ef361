"""The recipes under docs/ for clusters, as far as a machine without a cluster can run them."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
from launched import PATIENCE, SCRIPT, start_launchers

DOCS = pathlib.Path(__file__).parents[2] / "docs"


def program(folder, name, text):
    """Puts a program of the cluster, or what stands for it, into a folder."""
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def test_slurm_starts_a_launcher_on_each_node(tmp_path):
    program(tmp_path, "tfopt", f'#!/bin/sh\nexec {sys.executable} -m tfopt "$@"\n')
    program(tmp_path, "scontrol", '#!/bin/sh\n[ "$*" = "show hostnames node[0-1]" ] && printf "127.0.0.1\\nnode1\\n"\n')
    # The real one runs its command on every node at once and returns the highest exit code.
    program(tmp_path, "srun", '#!/bin/bash\nshift\nSLURM_NODEID=1 "$@" & SLURM_NODEID=0 "$@"; first=$?; wait $! && exit $first\n')
    slurm = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "node[0-1]", "SLURM_NNODES": "2"}
    environment = {**os.environ, **slurm, "PATH": f"{tmp_path}:{os.environ['PATH']}", "FOLDER": str(tmp_path)}
    command = ["bash", str(DOCS / "slurm.sbatch"), str(SCRIPT), "end"]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert finished.returncode == 0, finished.stderr
    assert sorted(finished.stdout.splitlines()) == ["[worker 0] done 0", "[worker 1] done 1"]
    port = 15000 + os.getpid() % 10000
    start = json.loads((tmp_path / "start0-1.json").read_text())
    assert start["cluster"] == [f"127.0.0.1:{port + 1}", f"127.0.0.1:{port + 2}"]


@pytest.mark.slow
def test_the_script_of_the_text_trains_with_two_workers(tmp_path):
    text = (DOCS / "clusters.md").read_text()
    (tmp_path / "train.py").write_text(re.search(r"```python file=train\.py\n(.*?)```", text, re.DOTALL)[1])
    with start_launchers(tmp_path) as start:
        options = ["-n", 2, "--threads-per-worker", 1, "train.py", "--epochs", 1]
        launched = start(*options, CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")
        code, stdout, stderr = launched.end()
    assert code == 0, stderr
    ends = sorted(line for line in stdout.splitlines() if "loss:" in line)
    assert len(ends) == 2 and ends[0].split("accuracy:")[1] == ends[1].split("accuracy:")[1]  # of both workers, on both
    assert (tmp_path / "model.keras").exists()
