"""A file that does not run, or that ends the process that runs it, is an error with a cause and a way out."""

import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt import errors, isolation
from tfopt.tflite.probe import require_runnable


@pytest.fixture(scope="module")
def dividing(tmp_path_factory):
    """The path of a file that divides by its integer input."""

    def divide(n):
        return {"y": tf.cast(tf.constant([[10, 20, 30, 40]]) // n, tf.float32)}

    function = tf.function(divide).get_concrete_function(tf.TensorSpec((1, 4), tf.int32, name="n"))
    path = tmp_path_factory.mktemp("dividing") / "dividing.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([function]).convert())
    return path


SAMPLES = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], "int32")
ZEROS = np.array([[1, 2, 3, 4], [5, 0, 7, 8]], "int32")


def test_an_interpreter_names_the_operation_and_the_way_out(dividing):
    run = tfopt.Interpreter(dividing)
    np.testing.assert_array_equal(run(SAMPLES)[0], [10, 10, 10, 10])
    with pytest.raises(errors.RunError, match=r"dividing.tflite \(.*FLOOR_DIV.*give real samples with --data") as caught:
        run(ZEROS)
    assert caught.value.exit_code == 3


def test_a_benchmark_on_made_up_data_names_the_way_out_and_on_real_samples_it_runs(dividing):
    with pytest.raises(errors.RunError, match="FLOOR_DIV.*--data"):
        tfopt.benchmark(dividing, runs=1)
    for data in (SAMPLES, {"n": SAMPLES}):
        assert tfopt.benchmark(dividing, against=dividing, data=data, runs=1).speedup > 0


def test_the_command_line_benchmarks_on_data(dividing, run_cli, tmp_path):
    np.save(tmp_path / "samples.npy", SAMPLES)
    finished = run_cli("benchmark", dividing, "--runs", "1")
    assert finished.returncode == 3 and "bug" not in finished.stderr and "--data" in finished.stderr
    finished = run_cli("benchmark", dividing, "--runs", "1", "--data", tmp_path / "samples.npy")
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("samples", [ZEROS, ZEROS[1:]], ids=["later", "at once"])
def test_a_check_says_that_the_file_does_not_run(dividing, samples):
    result = tfopt.check(dividing, data=samples)
    assert not result.passed and "the file does not run on the data" in result.reasons[0] and "FLOOR_DIV" in result.reasons[0]
    assert tfopt.check(dividing, data=SAMPLES).passed


def test_a_check_on_the_command_line_fails_and_is_no_bug(dividing, run_cli, tmp_path):
    np.save(tmp_path / "zeros.npy", ZEROS)
    finished = run_cli("check", dividing, "--data", tmp_path / "zeros.npy")
    assert finished.returncode == 1 and "does not run on the data" in finished.stdout and "bug" not in finished.stderr


def test_a_reference_that_does_not_run_is_no_verdict_on_the_file(dividing):
    with pytest.raises(tfopt.ConversionError, match="The reference must run on the data"):
        tfopt.check(_plain(), reference=dividing, data=ZEROS)


def _plain():
    """A file with the input of the dividing one, which runs on everything."""
    function = tf.function(lambda n: {"y": tf.cast(n, tf.float32)}).get_concrete_function(tf.TensorSpec((1, 4), tf.int32, name="n"))
    return tf.lite.TFLiteConverter.from_concrete_functions([function]).convert()


@pytest.fixture
def dying(monkeypatch):
    """Lets the process that runs a file die, as kernels do that divide by zero."""
    run = isolation.run

    def die(target, request, **options):
        if request.run:
            raise errors.ConversionError(f"Received: its process died with signal 8 (SIGFPE). {request.path} is unharmed.")
        return run(target, request, **options)

    monkeypatch.setattr(isolation, "run", die)


def test_a_process_that_dies_is_a_verdict(dividing, dying):
    with pytest.raises(errors.RunError, match=r"dividing.tflite, whose process died with signal 8 \(SIGFPE\). .*--data"):
        require_runnable(dividing, list(SAMPLES[:1]))
    result = tfopt.check(dividing, data=SAMPLES)
    assert not result.passed and "died with signal 8" in result.reasons[0] and result.samples == 0
    with pytest.raises(errors.RunError, match="died with signal 8"):
        tfopt.benchmark(dividing, data=SAMPLES, runs=1)
