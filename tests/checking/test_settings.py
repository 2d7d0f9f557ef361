"""Settings that cannot be used are refused at once, by name; requests survive the way to a child process."""

import dataclasses
import json
import math

import pytest

import tfopt
from tfopt.checking.settings import BenchmarkRequest, BenchmarkSettings, CheckRequest, CheckSettings, InspectRequest
from tfopt.loading.options import LoadOptions

BAD = {
    CheckSettings: {
        "max_accuracy_drop": [-0.01, math.nan, math.inf, "0.01", True, None],
        "min_sqnr": [math.nan, "20", True, None],
        "max_qat_error_lsb": [-1, math.nan, "2", True],
        "threads": [0, -1, 2.0, "2", True, None],
        "scale": ["0-1", "", 255],
    },
    BenchmarkSettings: {"threads": [0, 1.0, None], "runs": [0, -1, 2.5, "50", True], "warmup": [-1, 1.0, None]},
}
CASES = [(kind, name, value) for kind, fields in BAD.items() for name, values in fields.items() for value in values]


@pytest.mark.parametrize(("kind", "name", "value"), CASES, ids=[f"{name}={value!r}" for _, name, value in CASES])
def test_bad_values_are_refused(kind, name, value):
    with pytest.raises(tfopt.ArgumentError) as caught:
        kind(**{name: value})
    message = str(caught.value)
    assert f"`{name}`" in message and f"{value!r}" in message.partition("Received:")[2]


@pytest.mark.parametrize(
    "settings",
    [
        CheckSettings(),
        CheckSettings(max_accuracy_drop=0, min_sqnr=-math.inf, threads=8, scale="-1..1"),
        CheckSettings(max_qat_error_lsb=0.5),
        BenchmarkSettings(threads=2, runs=1, warmup=0),
    ],
    ids=str,
)
def test_good_values_are_kept_and_cannot_be_changed(settings):
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.threads = 3


@pytest.mark.parametrize("given", [{"reference": "x.keras"}, {"labels": "y.npy"}, {"layers": True}], ids=str)
def test_a_comparison_asks_for_data(given):
    with pytest.raises(tfopt.ArgumentError, match=r"`data` is required .*Received: no data\. Give them with --data"):
        CheckRequest(tflite="x.tflite", **given)


@pytest.mark.parametrize(
    "request_",
    [
        CheckRequest(tflite="x.tflite"),
        CheckRequest(
            tflite="x.tflite", reference="x.h5", data="x.npz", labels="y.npy", layers=True,
            settings=CheckSettings(max_accuracy_drop=0.5, min_sqnr=3.0, threads=2, scale="0..1"),
            loading=LoadOptions(custom_objects="layers.py", architecture="m:f", allow_unsafe=True),
        ),
        BenchmarkRequest(tflite="x.tflite", against="y.tflite", settings=BenchmarkSettings(threads=2, runs=3, warmup=4)),
        InspectRequest(path="x.h5", loading=LoadOptions(allow_unsafe=True)),
    ],
    ids=["check, default", "check", "benchmark", "inspect"],
)  # fmt: skip
def test_requests_travel_as_json(request_):
    text = request_.to_json()
    assert type(request_).from_json(text) == request_ and json.loads(text)


def test_a_model_in_memory_does_not_travel(classifier):
    with pytest.raises(TypeError, match="JSON"):
        CheckRequest(tflite="x.tflite", reference=classifier, data="x.npy").to_json()
