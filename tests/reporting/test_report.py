"""Reports are valid JSON and well-formed Markdown, whatever the numbers and names in them."""

import dataclasses
import hashlib
import json
import math
import pathlib
import re

import numpy as np
import pytest

from tfopt.checking.benchmark import BenchmarkResult, Timing
from tfopt.checking.output_errors import OutputNumbers
from tfopt.checking.result import CheckResult
from tfopt.conversion.result import ConversionResult
from tfopt.conversion.settings import Settings
from tfopt.reporting import report
from tfopt.reporting.markdown import to_markdown
from tfopt.reporting.tables import markdown_table
from tfopt.tflite.flatbuffer import Tensor
from tfopt.tflite.op_audit import Structure


def conversion(*, outputs=None, shape=(1, 8, 8, 1), notes=(), against=True, accuracy=0.97, reasons=(), name="digit", lowered=None):
    """A small made-up result; the arguments are what the tests vary."""
    tensors = (
        Tensor(0, "image", shape, "int8", "input", (0.00392157,), (-128,)),
        Tensor(1, name, (1, 10), "float32", "output", (), ()),
    )
    outputs = (numbers(name=name),) if outputs is None else outputs
    return ConversionResult(
        tflite=b"the file",
        check=CheckResult(
            passed=not reasons,
            reasons=reasons,
            notes=("a note of the check",),
            structure=Structure("int8", {"CONV_2D": 2, "SOFTMAX": 1}, tensors, (), 1),
            outputs=outputs,
            samples=400,
            data="validation data (test.npz)",
            reference_accuracy=accuracy,
            accuracy=accuracy,
        ),
        benchmark=BenchmarkResult(
            Timing(0.04, 0.05, 0.3, 8, 28), Timing(0.3, 0.5, 0.6, 32, 52) if against else None, 10.0 if against else None, 1, 50
        ),
        settings=Settings(),
        source={"name": "model.keras", "sha256": "abc123"},
        representative_data="200 samples from train.npy, seed 0",
        lowered=lowered or {},
        rewritten={"average_pool": 1} if lowered else {},
        notes=notes,
    )


def numbers(**changes):
    return dataclasses.replace(OutputNumbers("digit", 35.26, 33.3, 0.99987654, 0.02, 0.001, 5.1, 0.256, 1.0, 0.9925), **changes)


def markdown(result):
    return to_markdown(result.report("model.tflite"))


def tables(text):
    """The Markdown tables, each a list of rows of cells."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    rows = [[re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()] for block in blocks]
    return [[[cell.strip() for cell in row] for row in table] for table in rows]


@dataclasses.dataclass(frozen=True)
class Inner:
    values: tuple
    named: dict


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.inf, None),
        (-math.inf, None),
        (math.nan, None),
        (np.float64("nan"), None),
        (1.5, 1.5),
        (0, 0),
        (True, True),
        (None, None),
        ("inf", "inf"),
        ((1, math.nan, "a"), [1, None, "a"]),
        ({"a": [math.inf], 2: 1.0}, {"a": [None], "2": 1.0}),
        (Inner((math.nan, 2), {"x": Inner((), {})}), {"values": [None, 2], "named": {"x": {"values": [], "named": {}}}}),
    ],
    ids=str,
)
def test_results_become_what_json_can_hold(value, expected):
    made = report.to_dict(value)
    assert made == expected
    assert json.loads(report.to_json(made)) == expected


def test_markdown_lists_what_was_lowered():
    lowered = {"normalization": ("norm_1", "norm_2")}
    table = next(table for table in tables(markdown(conversion(lowered=lowered))) if table[0] == ["rewriting", "where"])
    assert table[2:] == [["normalization", "norm_1, norm_2"], ["average_pool", "1 op"]]


def test_json_is_strict_and_readable():
    content = conversion(outputs=(numbers(sqnr=math.inf, mean_error=math.nan, max_error=-math.inf),), name="größe")
    text = report.to_json(content.report())

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    loaded = json.loads(text, parse_constant=refuse)
    (output,) = loaded["check"]["outputs"]
    assert output["sqnr"] is None and output["mean_error"] is None and output["max_error"] is None
    assert output["cosine"] == 0.99987654
    assert loaded["settings"]["samples"] == 200 and loaded["benchmark"]["tflite"]["bytes"] == 8
    assert loaded["check"]["accuracy_drop"] == 0
    assert "größe" in text and text.endswith("}\n")


def test_json_never_writes_what_is_not_json():
    with pytest.raises(ValueError, match="JSON"):
        report.to_json({"sqnr": math.inf})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("out/model.tflite", ("out/model.report.json", "out/model.report.md")),
        ("v1.2.tflite", ("v1.2.report.json", "v1.2.report.md")),
    ],
)
def test_reports_lie_beside_the_file(path, expected):
    assert report.paths(pathlib.Path(path)) == tuple(map(pathlib.Path, expected))


def test_table_escapes_pipes():
    lines = markdown_table(["a|b", "c"], [["x|y|z", 1], ["", None]])
    assert lines == [r"| a\|b | c |", "| --- | --- |", r"| x\|y\|z | 1 |", "|  |  |"]


def test_every_row_of_every_table_has_as_many_cells_as_its_head():
    result = conversion(name="a|b|c", shape=(1, 8, None, 1))
    found = tables(markdown(result))
    assert len(found) == 4
    for table in found:
        assert {len(row) for row in table} == {len(table[0])}
    assert [row[0] for row in found[1][2:]] == [r"a\|b\|c"]
    assert found[3][2:] == [
        ["image", "input", "int8", "(1, 8, ?, 1)", "0.00392157, -128"],
        [r"a\|b\|c", "output", "float32", "(1, 10)", ""],
    ]


def test_markdown_shows_the_comparison_and_the_numbers():
    first, outputs, ops, _ = tables(markdown(conversion()))
    assert first == [
        ["", "float32", "int8"],
        ["---", "---", "---"],
        ["accuracy", "97.00 %", "97.00 %"],
        ["size", "32 B", "8 B"],
        ["size, gzip", "52 B", "28 B"],
        ["latency, median", "0.50 ms", "50.0 µs"],
        ["latency, p90", "0.60 ms", "0.30 ms"],
        ["speed", "1.00x", "10.00x"],
    ]
    assert outputs[2:] == [["digit", "35.3 dB", "33.3 dB", "0.999877", "5.10 LSB", "0.26 LSB", "99.25 %"]]
    assert ops[2:] == [["CONV_2D", "2"], ["SOFTMAX", "1"]]


def test_markdown_leaves_out_what_was_not_measured():
    first, outputs, *_ = tables(
        markdown(conversion(against=False, accuracy=None, outputs=(numbers(max_error_lsb=None, agreement=None),)))
    )
    assert [row[0] for row in first[2:]] == ["size", "size, gzip", "latency, median", "latency, p90"]
    assert {row[1] for row in first[2:]} == {""}
    assert outputs[2] == ["digit", "35.3 dB", "33.3 dB", "0.999877", "0.02", "0.26 LSB", ""]


def test_markdown_tells_the_verdict_and_where_it_comes_from():
    failed = markdown(conversion(reasons=("the first reason", "the second one"), notes=("a note of the conversion",)))
    assert failed.startswith("# model.tflite: FAILED\n\n- the first reason\n- the second one\n\n|")
    assert "- a note of the conversion\n- a note of the check\n" in failed
    passed = markdown(conversion())
    assert passed.startswith("# model.tflite: PASSED\n\n|")
    for fact in ("model.keras", "abc123", "200 samples from train.npy", "400 samples: validation data (test.npz)", "seed=0"):
        assert fact in passed
    assert hashlib.sha256(b"the file").hexdigest() in passed


@pytest.mark.parametrize(
    ("changes", "exact"),
    [
        ({"sqnr": math.inf, "cosine": 1.0, "max_error": 0.0, "mean_error": 0.0}, True),
        ({"sqnr": -math.inf, "cosine": 0.0}, False),
        ({"sqnr": math.nan, "cosine": math.nan}, False),
        (dict.fromkeys(("sqnr", "cosine", "max_error", "mean_error", "max_error_lsb", "mean_error_lsb"), math.nan), False),
        ({"max_error": math.nan, "mean_error": math.nan, "max_error_lsb": None, "mean_error_lsb": None}, False),
        ({"max_error": math.inf, "mean_error": math.inf, "max_error_lsb": math.inf, "mean_error_lsb": math.inf}, False),
    ],
    ids=["equal outputs", "reference of zeros", "NaN ratio", "NaN outputs", "NaN errors without steps", "infinite errors"],
)
def test_markdown_of_numbers_that_are_not_finite(changes, exact):
    """It can be written, and only outputs that are equal are called exact."""
    _, outputs, *_ = tables(markdown(conversion(outputs=(numbers(**changes),))))
    assert len(outputs[2]) == 7
    assert ("exact" in outputs[2]) == exact
