"""`QuantizationReport`: a table of all tensors, one line as `repr`, HTML for notebooks."""

import pytest
from small_nets import IMAGES, classifier

import tfopt


@pytest.fixture(scope="module")
def reports():
    """(report of a model without ranges and with a layer left out, report of a calibrated model)."""
    qat = tfopt.quantize_aware(classifier())
    return tfopt.quantization_report(tfopt.quantize_aware(classifier(), exclude="class")), tfopt.quantization_report(
        tfopt.calibrate(qat, IMAGES)
    )


def test_lists_weights_and_activations_with_reasons(reports):
    open_report, report = reports
    assert {row.name: (row.bits, row.grid) for row in report.weights if row.bits} == {
        "conv/kernel": (8, "per channel, axis -1"), "class/kernel": (8, "per channel, axis -1"),
    }  # fmt: skip
    assert {row.reason for row in report.weights if not row.bits} == {
        "a vector: in the file it is int32, or multiplied into the weights before it"
    }
    assert report.unseen == () and len(report.activations) == 3
    assert len(open_report.unseen) == 2 and {row.reason for row in open_report.activations} == {
        "no batch has passed with values other than 0: train, or tfopt.calibrate"
    }
    assert "left out by include or exclude" in {row.reason for row in open_report.weights}


def test_is_a_table_in_text_and_in_html(reports):
    open_report, report = reports
    lines = str(report).splitlines()
    assert lines[0].split() == ["tensor", "bits", "scales", "range", "note"]
    assert len(lines) == 1 + 2 + 3, "vectors are left out"
    assert any(
        line.split()[:4] == ["image_quantize", "8", "per", "tensor"] and line.split()[4].startswith("0..") for line in lines
    ), lines
    starts = {line.index("per ") for line in lines[1:]}
    assert starts == {lines[0].index("scales")}, "columns are aligned"
    assert any("float" in line and "left out by include" in line for line in str(open_report).splitlines())
    assert report._repr_html_().count("<tr>") == 6 and "<td>conv/kernel</td>" in report._repr_html_()


def test_repr_is_one_line(reports):
    assert repr(reports[1]) == "QuantizationReport(2 of 8 weights and 3 tensors rounded, 0 without a range)"
    assert repr(reports[0]) == "QuantizationReport(1 of 8 weights and 2 tensors rounded, 2 without a range)"
