"""`tfopt.Interpreter` runs any file on float arrays, against LiteRT driven by hand."""

import keras
import numpy as np
import pytest
from ai_edge_litert import interpreter as litert

import tfopt
from tfopt import isolation
from tfopt.tflite.affine import dequantize, quantize


def by_hand(content, images):
    """The documented arithmetic, sample by sample."""
    run = litert.Interpreter(model_content=content, num_threads=1)
    run.allocate_tensors()
    (source,), (target,) = run.get_input_details(), run.get_output_details()
    outputs = []
    for image in images:
        scale, zero_point = source["quantization"]
        limits = np.iinfo(np.int8)
        run.set_tensor(source["index"], np.clip(np.round(image[None] / scale) + zero_point, limits.min, limits.max).astype(np.int8))
        run.invoke()
        scale, zero_point = target["quantization"]
        outputs.append((run.get_tensor(target["index"]).astype(np.float32) - zero_point) * scale)
    return np.concatenate(outputs)


def test_equals_litert_driven_by_hand(converted, digits):
    images = digits[1][0][:50]
    # One LSB (1/256): x / scale in float32 and float64 may round a tie to different sides.
    np.testing.assert_allclose(tfopt.Interpreter(converted.tflite)(images), by_hand(converted.tflite, images), atol=1 / 256 + 1e-6)


def test_names_shapes_and_forms_of_input(converted, digits, tmp_path):
    images = digits[1][0][:3]
    (tmp_path / "model.tflite").write_bytes(converted.tflite)
    run = tfopt.Interpreter(tmp_path / "model.tflite", threads=2)
    assert (run.input_names, run.output_names, run.batch_size) == (["image"], ["digit"], 1)
    outputs = run(images)
    assert outputs.shape == (3, 10) and outputs.dtype == np.float32
    np.testing.assert_array_equal(outputs, run({"image": images}))
    np.testing.assert_array_equal(outputs, run(images.astype(np.float64)))


@pytest.mark.parametrize(("probe", "children"), [(False, 0), (True, 1)])
def test_a_child_process_is_started_only_for_a_probe(converted, tmp_path, monkeypatch, probe, children):
    calls = []
    monkeypatch.setattr(isolation, "run", lambda target, request, **options: calls.append(request.path))
    path = tmp_path / "model.tflite"
    path.write_bytes(converted.tflite)
    tfopt.Interpreter(path, probe=probe)
    assert calls == [str(path.resolve())] * children


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (np.zeros((2, 8, 8)), r"must have the shape \(n, 8, 8, 1\)"),
        (np.zeros((0, 8, 8, 1)), r"must have the shape"),
        ({"picture": np.zeros((2, 8, 8, 1))}, "must be named as the inputs"),
    ],
    ids=["rank", "empty", "name"],
)
def test_wrong_inputs(converted, inputs, words):
    with pytest.raises(tfopt.DataError, match=words):
        tfopt.Interpreter(converted.tflite)(inputs)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_quantize_and_dequantize(dtype):
    detail = {"quantization": (0.5, 3), "dtype": np.dtype(dtype).type}
    limits = np.iinfo(dtype)
    values = np.array([-1e9, -1.0, 0.0, 0.24, 0.26, 1.0, 1e9], np.float32)
    expected = [limits.min, max(1, limits.min), 3, 3, 4, 5, limits.max]
    quantized = quantize(values, detail)
    assert quantized.dtype == dtype and quantized.tolist() == expected
    assert dequantize(quantized[2:6], detail).tolist() == [0.0, 0.0, 0.5, 1.0]
    plain = {"quantization": (0.0, 0), "dtype": np.int32}
    assert quantize(np.array([1.0, 2.0]), plain).dtype == np.int32
    assert dequantize(np.array([1, 2], np.int32), plain).dtype == np.int32


def test_partitions_are_counted(converted):
    """Fails when LiteRT takes away the private call behind `delegate_partitions`, or makes it say something else."""
    assert tfopt.Interpreter(converted.tflite).delegate_partitions() == 1
    keras.utils.set_random_seed(0)
    # XNNPACK takes no 3-D convolution, so the two dense layers around it are two partitions.
    layers = [keras.layers.Dense(2), keras.layers.Conv3D(2, 1), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((4, 4, 4, 1)), *layers])
    content = tfopt.convert(model, quantization="float32", skip_lowering=("three_dimensions",), runs=1).tflite
    assert tfopt.Interpreter(content).delegate_partitions() == 2


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"\x1c\x00\x00\x00TFL3" + b"\xff" * 100], ids=["empty", "zeros", "liar"])
def test_bytes_that_are_no_model(content):
    with pytest.raises(tfopt.LoadError, match="Received: "):
        tfopt.Interpreter(content)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2"])
def test_threads_are_checked(converted, threads):
    with pytest.raises(tfopt.ArgumentError, match="threads="):
        tfopt.Interpreter(converted.tflite, threads=threads)


def test_building_one_prints_nothing(converted, capfd):
    tfopt.Interpreter(converted.tflite)
    assert capfd.readouterr() == ("", "")
