"""Reports are valid JSON, whatever the numbers and names in them, and lie beside their file."""

import dataclasses
import json
import math
import pathlib

import numpy as np
import pytest
from made_up import conversion, numbers

import tfopt
from tfopt.reporting import report


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


def test_reports_need_the_name_of_a_tflite_file():
    with pytest.raises(tfopt.ArgumentError, match=r"must be named `something\.tflite`\. Received: out/model\.onnx"):
        report.paths(pathlib.Path("out/model.onnx"))


def test_documents_are_the_report_twice():
    content = conversion().report("out.tflite")
    documents = report.documents(pathlib.Path("folder/out.tflite"), content)
    assert [path.name for path in documents] == ["out.report.json", "out.report.md"]
    (as_json, as_markdown) = documents.values()
    assert json.loads(as_json) == content and as_markdown.decode().startswith("# out.tflite: PASSED\n")
