"""Every notebook runs from top to bottom in this interpreter, draws its figures, and is kept without outputs."""

import os
import pathlib
import re

import nbclient
import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager

NOTEBOOKS = sorted((pathlib.Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture
def run(tmp_path):
    """Runs a notebook in an empty folder, with the interpreter that runs pytest, and returns it with its outputs."""

    def execute(path):
        notebook = nbformat.read(path, as_version=4)
        # Without folders to search, `python3` is ipykernel in this interpreter, whatever kernels the machine has.
        kernels = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
        client = nbclient.NotebookClient(notebook, kernels, timeout=180, resources={"metadata": {"path": tmp_path}})
        # Settings of the user must not change what runs: a start-up script, another place for the figures.
        environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
        client.execute(cleanup_kc=True, env=environment | {"IPYTHONDIR": str(tmp_path / "ipython")})
        return notebook

    return execute


def printed(notebook, cell_id):
    """What a cell wrote to standard output."""
    (cell,) = [cell for cell in notebook.cells if cell.id == cell_id]
    return "".join(output.text for output in cell.outputs if output.get("name") == "stdout")


def numbers(text):
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\.?\d*", text)]


def check_convert(notebook):
    """What a reader of 01_convert.ipynb should see."""
    (cell,) = [cell for cell in notebook.cells if cell.id == "convert"]
    (result,) = [output for output in cell.outputs if output.output_type == "execute_result"]  # others are the progress bar's
    table = result.data["text/html"]
    assert "<table" in table and "PASSED" in table
    assert printed(notebook, "figures").startswith("passed: True\nreasons: ()\n")
    assert printed(notebook, "failure").count("passed: False") == 2
    assert printed(notebook, "failure").count("files written: []") == 2


def check_prune(notebook):
    """What a reader of 02_prune.ipynb should see."""
    sparsity, accuracies = printed(notebook, "prune").splitlines()
    assert numbers(sparsity) == [0.8]
    dense, pruned = numbers(accuracies)
    assert pruned > 0.95
    assert dense - pruned < 0.04
    assert printed(notebook, "tensorboard").endswith("the same as in the history: True\n")
    *_, sparsity, accuracies = printed(notebook, "plan").splitlines()
    assert numbers(sparsity)[0] > 0.85  # more zeros than without a plan
    assert numbers(accuracies)[0] > 0.96
    kept = printed(notebook, "convert").splitlines()
    assert len(kept) == 4
    assert all(line.endswith("all zeros kept: True") for line in kept)
    dense, pruned = printed(notebook, "size").splitlines()
    assert dense.endswith("passed")
    assert pruned.endswith("passed")
    assert numbers(dense)[0] == numbers(pruned)[0]
    assert numbers(pruned)[1] < 0.5 * numbers(dense)[1]


def check_quantize_aware(notebook):
    """What a reader of 03_quantize_aware.ipynb should see."""
    assert "passed: False" in printed(notebook, "ptq")
    _, aware = printed(notebook, "qat").splitlines()
    in_keras, in_file = numbers(aware)
    assert abs(in_keras - in_file) < 0.006  # two images
    assert numbers(printed(notebook, "prune").splitlines()[4])[-1] == 80.0
    rows = {line[:18].strip(): line[18:] for line in printed(notebook, "table").splitlines()[1:]}
    plain, aware, pruned = (numbers(rows[name]) for name in ("PTQ", "QAT", "80 % zeros, QAT"))
    for float_accuracy, int8_accuracy, *_ in (plain, aware, pruned):
        assert float_accuracy > 0.97
        assert int8_accuracy > 0.85
    assert aware[1] > plain[1] + 0.01
    assert pruned[1] > numbers(rows["80 % zeros, PTQ"])[1] + 0.01
    assert rows["QAT"].endswith("passed")
    assert rows["80 % zeros, QAT"].endswith("passed")
    assert pruned[2] > 70  # % zeros in the file
    assert pruned[3] == aware[3]
    assert pruned[4] < 0.6 * aware[4]


def check_distill(notebook):
    """What a reader of 04_distill.ipynb should see."""
    _, alone, taught, logs = printed(notebook, "student").splitlines()
    assert numbers(taught)[0] > numbers(alone)[0] > 0.8
    assert "logits_distillation" in logs
    first, *_ = printed(notebook, "all").splitlines()
    in_keras, _, in_file = numbers(first)  # "int8" between them
    assert in_file > 0.8
    assert abs(in_keras - in_file) < 0.006  # two images
    assert "59.98 %" in printed(notebook, "all")  # of the larger convolution
    assert printed(notebook, "convert").startswith("passed: True")


def check_distributed(notebook):
    """What a reader of 05_distributed_colab.ipynb should see on a machine without a TPU or GPU: two logical CPUs."""
    assert printed(notebook, "devices").endswith("MirroredStrategy, 2 replicas\n")
    dense, pruned, rounded = (numbers(printed(notebook, cell))[-1] for cell in ("train", "prune", "round"))
    assert dense > 0.95 and pruned > 0.95 and rounded > 0.95
    assert printed(notebook, "replicas").endswith("the same on all 2 replicas: True\n")
    assert printed(notebook, "convert").startswith("passed: True\n")
    accuracies = printed(notebook, "convert").splitlines()[1]
    in_keras, *_, in_file = numbers(accuracies)
    assert abs(in_keras - in_file) < 0.006  # two images
    assert abs(in_keras - rounded) < 1e-4  # saved as it was trained
    assert "80.00 %" in printed(notebook, "convert")  # of the hidden layer, which has most weights


# Each gets the notebook with its outputs.
CHECKS = {
    "01_convert.ipynb": check_convert,
    "02_prune.ipynb": check_prune,
    "03_quantize_aware.ipynb": check_quantize_aware,
    "04_distill.ipynb": check_distill,
    "05_distributed_colab.ipynb": check_distributed,
}


def test_every_notebook_is_checked():
    assert {path.name for path in NOTEBOOKS} == {*CHECKS}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_runs_and_draws_figures(run, path):
    notebook = run(path)
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert [output for output in outputs if "image/png" in output.get("data", {})]
    CHECKS[path.name](notebook)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_is_kept_without_outputs(path):
    cells = code_cells(nbformat.read(path, as_version=4))
    assert cells
    assert not [cell.id for cell in cells if cell.outputs or cell.execution_count is not None]
