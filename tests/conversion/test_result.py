"""A result is saved whole, with what made it, or not at all; it prints the table of the command line."""

import dataclasses
import hashlib
import json
import pathlib

import pytest
from child_here import ChildHere
from made_up import conversion, numbers

import tfopt
from tfopt.conversion.settings import FileRequest


@pytest.fixture
def child_of_commands():
    """The commands of `run_cli` work in this process."""
    return ChildHere


def test_saved_report_holds_what_made_the_file(converted, tmp_path):
    converted.save(tmp_path / "digits.tflite")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits.report.json", "digits.report.md", "digits.tflite"]
    report = json.loads((tmp_path / "digits.report.json").read_text())
    content = (tmp_path / "digits.tflite").read_bytes()
    assert report["schema_version"] == 1
    assert report["tflite"] == {"name": "digits.tflite", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert report["settings"]["quantization"] == "int8" and report["settings"]["seed"] == 0
    assert {"tensorflow", "keras", "ai-edge-litert", "cpu"} <= set(report["environment"])
    assert report["check"]["passed"] is True and report["check"]["accuracy"] == converted.check.accuracy
    with pytest.raises(tfopt.OutputError, match="must not exist yet"):
        converted.save(tmp_path / "digits.tflite")
    converted.save(tmp_path / "digits.tflite", overwrite=True)


def test_save_wants_the_right_ending(converted, tmp_path):
    with pytest.raises(tfopt.ArgumentError, match="something.tflite"):
        converted.save(tmp_path / "model")


REPORTS = ["model.report.json", "model.report.md", "model.tflite"]


@pytest.mark.parametrize("exists", [False, True], ids=["new", "existing"])
@pytest.mark.parametrize("passed", [True, False], ids=["passed", "failed"])
@pytest.mark.parametrize("overwrite", [False, True], ids=["", "overwrite"])
@pytest.mark.parametrize("keep_failed", [False, True], ids=["", "keep_failed"])
def test_each_option_of_save_allows_one_thing(tmp_path, exists, passed, overwrite, keep_failed):
    """`overwrite` does not save a file that failed, and `keep_failed` does not replace a file that exists."""
    result = conversion(reasons=() if passed else ("it is wrong",))
    path = tmp_path / "model.tflite"
    if exists:
        path.write_bytes(b"precious")
    words = "must pass its check" if not passed and not keep_failed else "must not exist yet" if exists and not overwrite else None
    if words is None:
        result.save(path, overwrite=overwrite, keep_failed=keep_failed)
        assert path.read_bytes() == result.tflite and sorted(each.name for each in tmp_path.iterdir()) == REPORTS
        assert json.loads((tmp_path / "model.report.json").read_text())["check"]["passed"] is passed
        return
    with pytest.raises(tfopt.OutputError, match=words):
        result.save(path, overwrite=overwrite, keep_failed=keep_failed)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == ([("model.tflite", b"precious")] if exists else [])


def test_a_refusal_says_why_the_check_failed(tmp_path):
    with pytest.raises(tfopt.OutputError, match=r"Received: first; second\. .*keep_failed=True"):
        conversion(reasons=("first", "second")).save(tmp_path / "model.tflite")


def test_an_existing_report_is_not_replaced_either(tmp_path):
    (tmp_path / "model.report.md").write_text("notes of mine")
    with pytest.raises(tfopt.OutputError, match=r"must not exist yet.*model\.report\.md"):
        conversion().save(tmp_path / "model.tflite")
    assert [path.name for path in tmp_path.iterdir()] == ["model.report.md"]


def test_repr_is_one_short_line():
    assert repr(conversion()) == "ConversionResult(int8, passed, 8 B, 35.3 dB, 10.00x float32)"
    failed = conversion(
        reasons=("a reason that goes on and on\n" * 9,) * 30, outputs=(numbers(), numbers(sqnr=-3.21)), against=False
    )
    assert repr(failed) == "ConversionResult(int8, FAILED, 8 B, -3.2 dB)", "the worst output counts"
    assert repr(conversion(outputs=(), against=False)) == "ConversionResult(int8, passed, 8 B)"


@pytest.mark.parametrize("passed", [True, False], ids=["passed", "failed"])
def test_print_is_the_table_of_the_command_line(converted, run_cli, monkeypatch, tmp_path, passed):
    (tmp_path / "model.keras").touch()
    check = dataclasses.replace(converted.check, passed=passed, reasons=() if passed else ("first", "second"))
    result = dataclasses.replace(converted, check=check)

    def convert_file(request, progress):
        job = FileRequest.from_json(request)
        pathlib.Path(job.staging).write_bytes(result.tflite)
        return result.report(job.name)

    monkeypatch.setattr("tfopt.conversion.convert.convert_file", convert_file)
    finished = run_cli("convert", "model.keras", "-o", "model.tflite")
    *table, last = finished.stdout.splitlines()
    (first, *lines), named = str(result).splitlines(), table.pop(0)
    assert (first, named) == ("a model in memory -> int8", "a model in memory -> model.tflite, int8"), (
        "only a command names the file"
    )
    assert table == lines and last.startswith("Written: model.tflite" if passed else "Nothing was written")
    assert finished.returncode == (0 if passed else 1)


def test_the_next_step_comes_after_the_reasons_as_a_call():
    result = conversion(reasons=("output 'x' has an SQNR of 3.0 dB",))
    *_, reason, last = str(result).splitlines()
    assert reason.strip() == result.check.reasons[0]
    assert last.startswith("Next: tfopt.check(result.tflite, reference='model.keras', data=x_test, layers=True)")
    in_memory = dataclasses.replace(result, source={"name": "a model in memory", "sha256": None})
    assert "reference=model, " in str(in_memory).splitlines()[-1]


def test_html_has_the_same_lines_with_names_escaped():
    html = conversion(name="<script>", notes=("<b>&",), reasons=("'x' < 'y'",))._repr_html_()
    assert "<td>&lt;script&gt;</td>" in html and "<div>note: &lt;b&gt;&amp;</div>" in html and "&#x27;x&#x27; &lt;" in html
    assert "<script>" not in html and "<b>" not in html and html.count("<table>") == 2 and "<div>FAILED</div>" in html
