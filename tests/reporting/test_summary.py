"""The summary of each kind of result: its lines, its tables, and what it leaves out."""

import dataclasses
import math

import pytest
from made_up import conversion, numbers

from tfopt.reporting import report, summary
from tfopt.reporting.tables import Table, as_text


def lines(blocks):
    return as_text(blocks).splitlines()


def check_of(**changes):
    return report.to_dict(conversion(**changes).check)


def test_conversion():
    lowered = {"normalization": ("norm_1", "norm_2"), "masking": ("mask",)}
    found = lines(summary.of_conversion(conversion(lowered=lowered, notes=("a note of the conversion",)).report("out.tflite")))
    assert found[:2] == ["model.keras -> out.tflite, int8", "representative data: 200 samples from train.npy, seed 0"]
    assert found[2].split() == ["float32", "int8"]
    quantities = ["accuracy", "size", "size, gzip", "latency, median", "latency, p90", "speed"]
    assert [line.split("  ")[0] for line in found[3:9]] == quantities
    assert found[9].startswith("output  SQNR") and found[10].startswith("digit   35.3 dB")
    assert found[11] == "compared on 400 samples, validation data (test.npz), accuracy 97.00 % against 97.00 %"
    assert found[12] == "lowered: normalization (2 layers), masking (1 layer), average_pool (1 op)"
    assert found[13:] == ["note: a note of the conversion", "note: a note of the check"]


def test_the_column_of_the_model_says_which_model_it_is():
    made = conversion()
    trained = dataclasses.replace(made, quantization_aware=True)
    with_float = dataclasses.replace(trained, float_check=dataclasses.replace(made.check, reference_accuracy=0.5))
    tables = [
        next(iter(b for b in summary.of_conversion(each.report()) if isinstance(b, Table))) for each in (made, trained, with_float)
    ]
    assert [table.head[1] for table in tables] == ["float32", "QAT model", "float32"]
    assert [table.rows[0][1] for table in tables] == ["97.00 %", "97.00 %", "50.00 %"]


@pytest.mark.parametrize(
    ("reason", "count"),
    [
        ("output 'x' has an SQNR of 3.0 dB; at least 20 dB is required", 1),
        ("the accuracy drops by 3.00 points, from 97.00 % to 94.00 %", 1),
        ("the int8 model holds a float NEG op", 0),
    ],
)
def test_the_next_step_is_told_where_numbers_fail(reason, count):
    found = list(summary.next_step(check_of(reasons=(reason,)), "tfopt check a.tflite"))
    assert found == ["Next: tfopt check a.tflite  # tells which layers err and why"] * count


def test_conversion_leaves_out_what_was_not_measured():
    found = as_text(summary.of_conversion(conversion(against=False, accuracy=None, outputs=()).report()))
    assert not any(word in found for word in ("accuracy", "speed", "SQNR", "compared on", "lowered"))


def test_check():
    found = lines(summary.of_check(check_of(), "model.tflite"))
    assert found[0] == "model.tflite: int8, 3 ops, delegate partitions: 1"
    assert found[-1] == "note: a note of the check" and len(found) == 5, "no table of layers"


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"sqnr": math.inf, "max_error": 0.0}, "exact"),
        ({"sqnr": math.nan, "max_error": math.nan}, ""),
        ({"sqnr": -math.inf, "max_error": 1.0}, ""),
        ({"sqnr": 35.26}, "35.3 dB"),
    ],
    ids=["equal outputs", "NaN", "a reference of zeros", "finite"],
)
def test_only_equal_outputs_are_exact(changes, shown):
    (table,) = (block for block in summary.of_check(check_of(outputs=(numbers(**changes),)), "x") if isinstance(block, Table))
    assert table.rows[0][1] == shown


@pytest.mark.parametrize(
    ("count", "limit", "expected"),
    [
        (0, None, ["PASSED"]),
        (2, None, ["FAILED", "  reason 0", "  reason 1"]),
        (2, 2, ["FAILED", "  reason 0", "  reason 1"]),
        (3, 2, ["FAILED", "  reason 0", "  reason 1", "  ... and 1 more"]),
    ],
)
def test_verdict(count, limit, expected):
    check = check_of(reasons=tuple(f"reason {number}" for number in range(count)))
    assert list(summary.verdict(check, limit)) == expected


@pytest.mark.parametrize("with_other", [True, False])
def test_benchmark(with_other):
    found = lines(summary.of_benchmark(report.to_dict(conversion(against=with_other).benchmark), "a.tflite", "b.tflite"))
    rows = ["a.tflite 40.0 µs 50.0 µs 0.30 ms 8 B 28 B", "b.tflite 0.30 ms 0.50 ms 0.60 ms 32 B 52 B"][: 1 + with_other]
    assert [" ".join(line.split()) for line in found[1 : 1 + len(rows)]] == rows
    assert ("a.tflite runs at 10.00x the speed of b.tflite" in found) == with_other
    assert found[-1] == "1 thread, 50 runs"


def layer(**changes):
    made = {
        "name": "conv", "class_name": "Conv2D", "call": 1, "sqnr": 30.0, "saturated": 0.01, "range_used": 0.5,
        "int8_range": [-1.0, 1.0], "float_range": [-0.5, 0.5], "fused": ["norm", "relu"],
    }  # fmt: skip
    return made | changes


def test_layers_and_their_causes():
    check = check_of() | {"layers": [layer(), layer(name="shared", call=2, sqnr=None, float_range=[None, 1.0], saturated=None)]}
    found = lines(summary.of_check(check, "x"))
    assert "conv             Conv2D  30.0 dB  1.00 %     50.00 %     -1..1              -0.5..0.5           norm, relu" in found
    row = next(line for line in found if line.startswith("shared (call 2)"))
    assert "not finite" in row and "exact" not in row and "dB" not in row
    assert "none of the known causes of error was found" in found
    cause = {"kind": "outlier-channel", "layer": "", "what": "it is so", "remedy": "Do this.", "others": [*"abcdefg"]}
    found = lines(summary.of_check(check | {"causes": [cause]}, "x"))
    assert "outlier-channel: a layer without a name: it is so (also: a, b, c, d, e, ...)" in found and "  -> Do this." in found


def test_pruning():
    weights = [{"name": "dense/kernel", "layer_class": "Dense", "shape": [4, 2], "zeros": 6, "parameters": 8}]
    result = {"weights": weights, "skipped": {"head/kernel": "the output layer"}, "sparsity": 0.75}
    found = lines(summary.of_pruning(result | {"int8_bytes": 8, "int8_gzip_bytes": 3}))
    assert found[1].split("  ") == ["dense/kernel", "Dense", "4 x 2", "75.00 %"]
    assert found[2] == "left as it is: head/kernel: the output layer"
    assert found[3] == "all weights listed: 75.00 % zeros; as int8 8 B, in gzip 3 B"
