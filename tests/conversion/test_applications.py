"""A few models of keras.applications, at a small size; `tools/sweep_applications.py` converts them all."""

import importlib.util
import pathlib

import pytest
from seeded_models import measure, to_int8

from tfopt.data import signature
from tfopt.tflite.interpreter import Interpreter

SWEEP = pathlib.Path(__file__).parents[2] / "tools" / "sweep_applications.py"


@pytest.fixture(scope="module")
def sweep():
    spec = importlib.util.spec_from_file_location("sweep_applications", SWEEP)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "name",
    [pytest.param("MobileNet", marks=pytest.mark.slow), pytest.param("MobileNetV2", marks=pytest.mark.slow), "MobileNetV3Small"],
)
def test_int8_throughout_in_one_partition(sweep, name):
    model, images = sweep.make_model(name, input_shape=(96, 96, 3))
    (spec,) = signature.input_specs(model)
    content = to_int8(model, data={spec.name: images})
    float_ops, decibel = measure(model, content, data={spec.name: images})
    assert not float_ops
    assert min(decibel) >= 20.0, decibel
    assert Interpreter(content).delegate_partitions() == 1
