"""`benchmark` measures what it says, of one file or two in turn, and prints the table of the command line."""

import dataclasses
import gzip

import pytest

import tfopt
from tfopt.checking.benchmark import benchmark_file
from tfopt.checking.settings import BenchmarkRequest, BenchmarkSettings
from tfopt.reporting import report


@pytest.fixture(scope="module")
def pair(converted):
    return tfopt.benchmark(converted.tflite, against=converted.tflite, runs=3)


def test_one_file(converted):
    result = tfopt.benchmark(converted.tflite, runs=7, warmup=0)
    timing = result.tflite
    assert 0 < timing.minimum <= timing.median <= timing.p90
    assert timing.bytes == len(converted.tflite)
    assert timing.gzip_bytes == len(gzip.compress(converted.tflite, 6))
    assert result.against is None and result.speedup is None and result.runs == 7


def test_two_files_run_in_turn(converted, monkeypatch):
    order = []
    invoke = tfopt.Interpreter.invoke
    monkeypatch.setattr(tfopt.Interpreter, "invoke", lambda self, seed=None: (order.append(id(self)), invoke(self, seed))[1])
    result = tfopt.benchmark(converted.tflite, against=converted.tflite, runs=4, warmup=2, threads=2)
    assert result.speedup == result.against.median / result.tflite.median
    first, second = order[0], order[2]
    assert order == [first, first, second, second, *[first, second] * 4]


def test_files_in_a_child(converted, tmp_path):
    (tmp_path / "model.tflite").write_bytes(converted.tflite)
    path, seen = str(tmp_path / "model.tflite"), []
    request = BenchmarkRequest(tflite=path, against=path, settings=BenchmarkSettings(runs=2, warmup=1))
    found = benchmark_file(request.to_json(), seen.append)
    assert found["runs"] == 2 and found["tflite"]["bytes"] == found["against"]["bytes"] == len(converted.tflite)
    assert seen == [{"stage": "benchmark"}, *({"stage": "benchmark", "done": done, "total": 2} for done in (1, 2))]


@pytest.mark.parametrize("arguments", [{"runs": 0}, {"runs": 2.5}, {"warmup": -1}, {"threads": 0}], ids=str)
def test_bad_arguments(converted, arguments):
    with pytest.raises(tfopt.ArgumentError, match="Received: "):
        tfopt.benchmark(converted.tflite, **arguments)


def test_missing_file(tmp_path):
    with pytest.raises(tfopt.LoadError, match="No such file"):
        tfopt.benchmark(tmp_path / "nothing.tflite")


def test_repr_is_one_short_line(pair):
    size, speed = f"{pair.tflite.bytes:,} B", f"{pair.speedup:.2f}x the other file"
    assert repr(pair) == f"BenchmarkResult({1000 * pair.tflite.median:.1f} µs, {size}, {speed})"
    alone = dataclasses.replace(pair, tflite=dataclasses.replace(pair.tflite, median=1.25), against=None, speedup=None)
    assert repr(alone) == f"BenchmarkResult(1.25 ms, {size})"


@pytest.mark.parametrize("with_other", [True, False], ids=["two files", "one file"])
def test_print_is_the_table_of_the_command_line(pair, run_cli, monkeypatch, tmp_path, with_other):
    for name in ("the file", "the other file"):
        (tmp_path / name).touch()
    result = pair if with_other else dataclasses.replace(pair, against=None, speedup=None)
    monkeypatch.setattr("tfopt.checking.benchmark.benchmark_file", lambda request, progress: report.to_dict(result))
    finished = run_cli("benchmark", "the file", *(["--against", "the other file"] if with_other else []))
    assert finished.returncode == 0 and finished.stdout == f"{result}\n"
    assert len(finished.stdout.splitlines()) == (5 if with_other else 3)


def test_html_has_the_table_and_the_lines(pair):
    html = pair._repr_html_()
    assert html.count("<tr>") == 3 and "<td>the other file</td>" in html
    assert f"<div>the file runs at {pair.speedup:.2f}x the speed of the other file</div>" in html
