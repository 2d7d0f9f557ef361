"""In tests of this room the commands of `run_cli` work in this process."""

import pytest
from child_here import ChildHere


@pytest.fixture
def child_of_commands(monkeypatch):
    monkeypatch.setenv("TFOPT_IN_CHILD", "1")  # files are opened without a process of their own
    return ChildHere
