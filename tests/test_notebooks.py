"""Every notebook runs from top to bottom in this interpreter, draws its figures, and is kept without outputs."""

import os
import pathlib

import nbclient
import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager

NOTEBOOKS = sorted((pathlib.Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


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


def test_there_are_notebooks():
    assert NOTEBOOKS


@each_notebook
def test_runs_and_draws_figures(run, path):
    outputs = [output for cell in code_cells(run(path)) for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert [output for output in outputs if "image/png" in output.get("data", {})]


@each_notebook
def test_is_kept_without_outputs(path):
    cells = code_cells(nbformat.read(path, as_version=4))
    assert cells
    assert not [cell.id for cell in cells if cell.outputs or cell.execution_count is not None]
