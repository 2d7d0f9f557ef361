"""A `CheckResult` has a short repr, prints the table of the command line, and shows it in a notebook."""

import dataclasses
import math

import pytest

import tfopt
from tfopt.checking.layer_facts import Cause


@pytest.fixture(scope="module")
def checked(converted, classifier, digits):
    images, labels = digits[1]
    return tfopt.check(converted.tflite, classifier, images, labels, layers=True)


def with_output(result, **changes):
    return dataclasses.replace(result, outputs=tuple(dataclasses.replace(output, **changes) for output in result.outputs))


def test_repr_is_one_short_line(checked):
    assert repr(checked) == f"CheckResult(passed, int8, {checked.outputs[0].sqnr:.1f} dB, accuracy {100 * checked.accuracy:.2f} %)"
    failed = dataclasses.replace(checked, passed=False, reasons=("a reason that goes on and on\n" * 9,) * 30)
    assert repr(failed).startswith("CheckResult(FAILED for 30 reasons, int8, ")
    assert max(len(repr(checked)), len(repr(failed))) < 90 and "\n" not in repr(failed)
    assert "FAILED for 1 reason," in repr(dataclasses.replace(failed, reasons=failed.reasons[:1]))


def test_repr_tells_only_what_was_measured(checked, converted):
    assert repr(tfopt.check(converted.tflite)) == "CheckResult(passed, int8)"
    assert repr(dataclasses.replace(with_output(checked, sqnr=math.inf), accuracy=None)) == "CheckResult(passed, int8, exact)"


def test_print_is_the_table_of_the_command_line(checked, converted, model_files, run_cli, tmp_path):
    (tmp_path / "model.tflite").write_bytes(converted.tflite)
    command = ["check", "model.tflite", "--reference", model_files / "keras3.keras", "--data", model_files / "test.npz", "--layers"]
    finished = run_cli(*command)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.replace("model.tflite", "the file") == f"{checked}\n"


def test_print_of_a_failed_check_has_all_reasons(checked):
    reasons = tuple(f"reason {number}" for number in range(50))
    lines = str(dataclasses.replace(checked, passed=False, reasons=reasons)).splitlines()
    assert lines[-51:] == ["FAILED", *(f"  {reason}" for reason in reasons)]


def test_html_has_the_same_lines_with_names_escaped(checked):
    name = 'x" onclick=alert(1)><script>&'
    cause = Cause("float-island", name, "it <b>is</b>", "Do & do.", (name,))
    layers = tuple(dataclasses.replace(layer, name=name, fused=(name,)) for layer in checked.layers)
    shown = dataclasses.replace(with_output(checked, name=name), layers=layers, causes=(cause,), notes=(name,), reasons=(name,))
    html = shown._repr_html_()
    assert "<script>" not in html and "<b>" not in html and "&lt;script&gt;&amp;" in html
    assert f"<td>{name.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;').replace(chr(34), '&quot;')}</td>" in html
    assert html.count("<table>") == 2 and html.count("<tr>") == 2 + len(checked.outputs) + len(checked.layers)
    assert "<div>PASSED</div>" in html


def test_accuracy_drop(checked):
    assert checked.accuracy_drop == checked.reference_accuracy - checked.accuracy
    assert dataclasses.replace(checked, accuracy=0.9, reference_accuracy=0.8).accuracy_drop == pytest.approx(-0.1), "it is better"
    assert dataclasses.replace(checked, reference_accuracy=None).accuracy_drop is None
    assert dataclasses.replace(checked, accuracy=None).accuracy_drop is None
