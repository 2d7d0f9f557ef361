"""Settings that cannot be used are refused at once, by name."""

import dataclasses
import math

import pytest

import tfopt
from tfopt.conversion.settings import Settings

BAD = {
    "quantization": ["int4", "INT8", "", None, ["int8"]],
    "ptq": ["worst", "", None, ["best"]],
    "io": ["int16", "", None, ["int8"]],
    "batch_size": [0, -1, 1.0, 1.5, "4", True, None],
    "samples": [0, -1, 200.0, "200", True, None],
    "threads": [0, -1, 2.0, "2", True, None],
    "runs": [0, -1, 50.0, "50", True, None],
    "seed": [-1, 1.5, "0", None],
    "max_accuracy_drop": [-0.01, math.nan, math.inf, "0.01", True, None],
    "min_sqnr": [math.nan, "20", None],
    "timeout": [0, -1, math.nan, math.inf, "1800", None],
    "logits": [1, "softmax", None],
    "split_outputs": [1, "y", None],
    "scale": ["0-1", "", 255, ["0..1"]],
    "input_shapes": [
        (1, 28, 28, 1),
        "image=1,28,28,1",
        {"image": 28},
        {"image": "1,28,28,1"},
        {"image": (1, 28.5, 28, 1)},
        {"image": (1, 0, 28, 1)},
        {"image": (1, -1, 28, 1)},
    ],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in BAD.items() for value in values],
    ids=[f"{name}={value!r}" for name, values in BAD.items() for value in values],
)
def test_bad_values_are_refused(name, value):
    with pytest.raises(tfopt.ArgumentError) as caught:
        Settings(**{name: value})
    message = str(caught.value)
    assert f"`{name}`" in message and f"{value!r}" in message.partition("Received:")[2]


@pytest.mark.parametrize(
    "values",
    [
        {},
        *({"quantization": name} for name in ("int8", "int16x8", "dynamic", "float16", "float32")),
        *({"io": name} for name in ("int8", "uint8", "float32")),
        *({"scale": name} for name in (None, "0..1", "-1..1", "0..255")),
        {"batch_size": 8, "samples": 1, "threads": 4, "runs": 1, "seed": 2**40},
        {"max_accuracy_drop": 0, "min_sqnr": -5, "timeout": 0.5},
        {"input_shapes": {"image": (1, 28, 28, 1), "ids": (None, 20)}},
        {"input_shapes": {}},
    ],
    ids=str,
)
def test_good_values_are_kept(values):
    settings = Settings(**values)
    assert {name: getattr(settings, name) for name in values} == values


def test_uint8_is_no_dtype_of_an_int16x8_file():
    with pytest.raises(tfopt.ArgumentError, match="Received: io='uint8'"):
        Settings(quantization="int16x8", io="uint8")


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().samples = 0
