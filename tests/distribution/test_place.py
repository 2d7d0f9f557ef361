"""Layers on several devices."""

import keras
import pytest

import tfopt


def test_two_devices_compute_what_one_does(run_replicas):
    """`placed.py` compares them where there are two devices."""
    assert (run_replicas("mirrored").folder / "placed" / "placed").exists()


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ({}, "must be a dict of device"),
        ({"/gpu:7": ["*"]}, "a device must be one of /cpu:0. Received: '/gpu:7'"),
        ({"/cpu:0": ["one"]}, "Received: no device for two"),
        ({"/cpu:0": ["one", "three"]}, "Received: 'three'"),
        ({"/cpu:0": ("two", "one")}, "first layer of a tuple must come before"),
        ({"/cpu:0": ("one",)}, "first and a last layer"),
        ({"/cpu:0": ["*"], "cpu:0": ["one"]}, "must have one device. Received: layer 'one'"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_placed(devices, message):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="one"), keras.layers.Dense(2, name="two")])
    with pytest.raises(tfopt.ArgumentError, match=message):
        tfopt.place(model, devices)
