"""The command line without a child process, for tests of what it prints."""

import importlib
import json

import pytest

from tfopt import isolation
from tfopt.progress import ignore


@pytest.fixture
def run_here(run_cli, monkeypatch):
    """The same as `run_cli`, but the work is done in this process, which takes the request and answers as a child does.

    Not for HDF5 files: their reader limits the CPU time of its process.
    """

    def call(target, request, **options):
        module, _, function = target.partition(":")
        answer = getattr(importlib.import_module(module), function)(request.to_json(), ignore)
        return json.loads(json.dumps(answer, allow_nan=False))

    monkeypatch.setenv("TFOPT_IN_CHILD", "1")  # files are opened without a process of their own
    monkeypatch.setattr(isolation, "run", call)
    return run_cli
