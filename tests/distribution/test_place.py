"""Layers on several devices."""

import pathlib
import subprocess
import sys

import keras
import pytest

import tfopt


def test_two_devices_compute_what_one_does(tmp_path):
    script = pathlib.Path(__file__).with_name("placed.py")
    finished = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True)
    assert finished.stdout.strip().endswith("placed"), finished.stderr


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ({}, "must be a dict of device"),
        ({"/gpu:7": ["*"]}, "a device must be one of /cpu:0. Received: '/gpu:7'"),
        ({"/cpu:0": ["one"]}, "Received: none for two"),
        ({"/cpu:0": ["one", "three"]}, "Received: 'three'"),
        ({"/cpu:0": ("two", "one")}, "first layer must stand before"),
        ({"/cpu:0": ("one",)}, "first and a last layer"),
        ({"/cpu:0": ["*"], "cpu:0": ["one"]}, "must have one device. Received: 'one'"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_placed(devices, message):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="one"), keras.layers.Dense(2, name="two")])
    with pytest.raises(tfopt.ArgumentError, match=message):
        tfopt.place(model, devices)
