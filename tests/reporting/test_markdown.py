"""A report is well-formed Markdown, whatever the numbers and names in it."""

import hashlib
import math
import re

import pytest
from made_up import conversion, numbers

from tfopt.reporting.markdown import to_markdown


def markdown(result):
    return to_markdown(result.report("model.tflite"))


def tables(text):
    """The Markdown tables, each a list of rows of cells."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    rows = [[re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()] for block in blocks]
    return [[[cell.strip() for cell in row] for row in table] for table in rows]


def test_markdown_lists_what_was_lowered():
    lowered = {"normalization": ("norm_1", "norm_2")}
    table = next(table for table in tables(markdown(conversion(lowered=lowered))) if table[0] == ["rewriting", "where"])
    assert table[2:] == [["normalization", "norm_1, norm_2"], ["average_pool", "1 op"]]


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
    assert outputs[2:] == [["digit", "35.3 dB", "33.3 dB", "0.999877", "5.10 LSB", "0.26 LSB", "99.25 %", ""]]
    assert ops[2:] == [["CONV_2D", "2"], ["SOFTMAX", "1"]]


def test_markdown_leaves_out_what_was_not_measured():
    first, outputs, *_ = tables(
        markdown(conversion(against=False, accuracy=None, outputs=(numbers(max_error_lsb=None, agreement=None),)))
    )
    assert [row[0] for row in first[2:]] == ["size", "size, gzip", "latency, median", "latency, p90"]
    assert {row[1] for row in first[2:]} == {""}
    assert outputs[2] == ["digit", "35.3 dB", "33.3 dB", "0.999877", "0.02", "0.26 LSB", "", ""]


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
    assert len(outputs[2]) == 8
    assert ("exact" in outputs[2]) == exact
