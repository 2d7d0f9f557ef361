"""Wrong scaling of the data is noted and right scaling is not."""

import keras
import numpy as np
import pytest

from tfopt.data.scaling_notes import range_notes, scaling_notes


def normalization(mean, deviation):
    layer = keras.layers.Normalization(mean=[mean] * 3, variance=[deviation**2] * 3)
    layer.build((None, 8, 8, 3))
    return layer


class Pixels(keras.layers.Rescaling):
    """A class of the caller's own that computes as Keras' does."""


def images(low, high):
    return {"x": np.linspace(low, high, 5 * 8 * 8 * 3, dtype="float32").reshape(5, 8, 8, 3)}


RAW, SCALED, SIGNED = images(0, 255), images(0, 1), images(-1, 1)
# {id: (the layer that the model begins with, data, what the note says, "" for none)}
SCALING = {
    "none, scaled": (None, SCALED, ""),
    "none, signed": (None, SIGNED, ""),
    "none, standardized": (None, images(-3, 20), ""),
    "none, raw": (None, RAW, "does not begin with Rescaling"),
    "none, raw grey": (None, {"x": RAW["x"][..., :1]}, "does not begin with Rescaling"),
    "none, a table": (None, {"x": RAW["x"].reshape(5, -1)}, ""),
    "none, 8 channels": (None, {"x": RAW["x"].reshape(5, 8, 3, 8)}, ""),
    "none, raw in uint8": (None, {"x": RAW["x"].astype("uint8")}, ""),
    "none, two inputs": (None, {"x": RAW["x"], "y": RAW["x"]}, ""),
    "Rescaling to 0..1, raw": (keras.layers.Rescaling(1 / 255), RAW, ""),
    "Rescaling to 0..1, scaled": (keras.layers.Rescaling(1 / 255), SCALED, "look scaled already"),
    "Rescaling to -1..1, raw": (keras.layers.Rescaling(1 / 127.5, offset=-1), RAW, ""),
    "Rescaling to -1..1, signed": (keras.layers.Rescaling(1 / 127.5, offset=-1), SIGNED, "look scaled already"),
    "a class derived from Rescaling, scaled": (Pixels(1 / 255), SCALED, "look scaled already"),
    "Rescaling by channel, raw": (keras.layers.Rescaling([1 / 255] * 3), RAW, ""),
    "Rescaling by channel, scaled": (keras.layers.Rescaling([1 / 255] * 3), SCALED, "look scaled already"),
    "Rescaling of 0..1, scaled": (keras.layers.Rescaling(2.0, offset=-1), SCALED, ""),
    "Rescaling of 0..1, dark": (keras.layers.Rescaling(2.0, offset=-1), images(0, 0.02), ""),
    "Rescaling of 0..1, raw": (keras.layers.Rescaling(2.0, offset=-1), RAW, "[0, 255]"),
    "Normalization of 0..255, raw": (normalization(120, 60), RAW, ""),
    "Normalization of 0..255, scaled": (normalization(120, 60), SCALED, "look scaled already"),
    "Normalization of 0..1, scaled": (normalization(0.45, 0.22), SCALED, ""),
    "Normalization of 0..1, raw": (normalization(0.45, 0.22), RAW, "[0, 255]"),
}


@pytest.mark.parametrize(("layer", "arrays", "said"), SCALING.values(), ids=SCALING)
def test_wrong_scaling_is_noted_and_right_scaling_is_not(layer, arrays, said):
    notes = scaling_notes(layer, arrays)
    assert len(notes) == bool(said)
    assert all(said in note for note in notes)


@pytest.mark.parametrize(
    ("representative", "validation", "said"),
    [
        ((0, 255), (0, 1), "from 0 to 255, and the validation data from 0 to 1: 255x off"),
        ((0, 1 / 255), (0, 1), "255x off"),
        ((-1, 0.5), (-127.5, 10), "128x off"),
        ((0, 1), (-3, 4), ""),
        ((0, 1), (0, 0), ""),
    ],
)
def test_other_ranges_than_those_of_the_validation_data_are_noted(representative, validation, said):
    notes = range_notes({"x": representative, "y": (0, 1)}, {"x": validation, "y": (0, 1)})
    assert len(notes) == bool(said) and all(said in note and "'x'" in note for note in notes)
