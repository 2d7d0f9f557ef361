"""`benchmark` measures what it says, of one file or two in turn."""

import gzip

import pytest

import tfopt


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


@pytest.mark.parametrize("arguments", [{"runs": 0}, {"runs": 2.5}, {"warmup": -1}, {"threads": 0}], ids=str)
def test_bad_arguments(converted, arguments):
    with pytest.raises(tfopt.ArgumentError, match="Received: "):
        tfopt.benchmark(converted.tflite, **arguments)


def test_missing_file(tmp_path):
    with pytest.raises(tfopt.LoadError, match="No such file"):
        tfopt.benchmark(tmp_path / "nothing.tflite")
