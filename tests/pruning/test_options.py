"""Arguments that pruning with and without training refuse alike."""

import pytest

import tfopt
from tfopt.pruning.options import as_plan, check_final


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: tfopt.PruningCallback(0.8), r"tfopt.ConstantSparsity\(0.8\)"),
        (lambda: tfopt.PruningCallback(tfopt.ConstantSparsity), r"schedule must be .*Received: schedule=<class"),
        (lambda: tfopt.PruningCallback(tfopt.ConstantSparsity(0.8), scope="model"), "scope must be"),
        (lambda: tfopt.PruningCallback(tfopt.ConstantSparsity(0.8), pattern="2:4"), "pattern must be"),
        (lambda: tfopt.PruningCallback(tfopt.ConstantSparsity(0.8), pattern=tfopt.NByM(2, 4)), "only end with a sparsity of 0.5"),
        (lambda: tfopt.PruningCallback(tfopt.ConstantSparsity(0.8), frequency=0), "frequency must be"),
        (lambda: tfopt.PruningCallback(tfopt.ConstantSparsity({"first": 0.5}), scope="global"), "scope must be 'layer'"),
    ],
    ids=["no schedule", "class", "scope", "pattern", "2:4 at 80 %", "frequency", "plan and global"],
)
def test_wrong_arguments(make, words):
    with pytest.raises(tfopt.ArgumentError, match=words):
        make()


def test_plans():
    assert as_plan(0.5) is None and as_plan(None) is None and as_plan({"a": 0.5}) == {"a": 0.5}
    check_final({"a": 0.5, "b": 0.5}, tfopt.NByM(2, 4), "layer")
    with pytest.raises(tfopt.ArgumentError, match="Received: sparsity=0.75"):
        check_final({"a": 0.5, "b": 0.75}, tfopt.NByM(2, 4), "layer")
