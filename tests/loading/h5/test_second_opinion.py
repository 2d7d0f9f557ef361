"""Keras 3 is asked about files of Keras 2 where it can answer."""

import re

import h5py
import numpy as np
import pytest
import tf_keras
from h5_files import layer, write
from legacy_models import FOLDER

import tfopt
from tfopt.loading.load import load_file
from tfopt.loading.options import LoadOptions


def test_a_file_that_keras_3_would_read_wrong_and_one_that_it_reads_right():
    _, steps = load_file(FOLDER / "tf-2.15.1" / "activations.h5", LoadOptions()).verified()
    assert steps[0].startswith("read with tf_keras") and steps[0].endswith("written by Keras 2.15.0")
    assert re.search("12 of 12|8 of 8|weights assigned once; Keras 3 would read it wrong", steps[-1])
    _, steps = load_file(FOLDER / "tf-2.15.1" / "cnn.h5", LoadOptions()).verified()
    assert "Keras 3 gives the same outputs" in steps[-1]


@pytest.mark.parametrize("config", [{}, {"batch_input_shape": [None, 1 << 14, 1 << 14]}], ids=["no shape", "too large"])
def test_unsuitable_inputs_are_not_compared(tmp_path, config):
    source = {**layer("InputLayer", "in", **config), "name": "in", "inbound_nodes": []}
    relu = {**layer("Activation", "relu", activation="relu"), "name": "relu", "inbound_nodes": [[["in", 0, 0, {}]]]}
    graph = {"name": "m", "layers": [source, relu], "input_layers": [["in", 0, 0]], "output_layers": [["relu", 0, 0]]}
    path = write(tmp_path / "open.h5", {"class_name": "Model", "config": graph}, {}, keras_version="2.2.4")
    _, steps = load_file(path, LoadOptions()).verified()
    assert steps[-1].endswith("not compared with Keras 3: the inputs have no known shape, are too large or are not numbers")


RNG = np.random.default_rng(0)


def saved(model, path):
    tf_keras.utils.set_random_seed(0)
    model.save(path, save_format="h5")
    return path


def twice_as_long(path):
    """A model of two sequences of any length, the second of which must be twice as long as the first."""
    layers = tf_keras.layers
    short, long = layers.Input((None, 4), name="short"), layers.Input((None, 4), name="long")
    both = layers.Concatenate()([short, layers.MaxPooling1D(2)(long)])
    return saved(tf_keras.Model([short, long], layers.Dense(3, name="head")(layers.GlobalAveragePooling1D()(both))), path)


@pytest.mark.parametrize(("crop", "size"), [(4, 64), (50, 160), (100, 320)])
def test_a_made_up_input_grows_until_the_model_runs(tmp_path, crop, size):
    layers = tf_keras.layers
    source = layers.Input((None, None, 3))
    pooled = layers.GlobalAveragePooling2D()(layers.Cropping2D(crop)(source))
    path = saved(tf_keras.Model(source, layers.Dense(2)(pooled)), tmp_path / "crop.h5")
    _, steps = load_file(path, LoadOptions()).verified()
    told = rf"Keras 3 gives the same outputs \(max difference .*\) on 2 made-up samples, an input of shape \({size}, {size}, 3\)"
    assert re.search(told, steps[-1])


def test_the_shapes_of_the_data_count(tmp_path):
    loaded = load_file(twice_as_long(tmp_path / "two.h5"), LoadOptions())
    _, steps = loaded.verified()
    told = r"does not run on 2 made-up samples, inputs of shape \(\d+, 4\) and \(\d+, 4\) .*; data of yours .* are compared"
    assert re.search(told, steps[-1])
    rows = {"short": RNG.normal(size=(2, 6, 4)), "long": RNG.normal(size=(2, 12, 4))}
    _, steps = loaded.verified(rows)
    assert steps[-1].endswith("on 2 of the given samples, inputs of shape (6, 4) and (12, 4)")
    _, steps = loaded.verified({"short": rows["short"]})
    assert steps[-1].endswith("the inputs of the model are not those of the data")


def test_convert_and_check_compare_on_the_data(tmp_path):
    path = twice_as_long(tmp_path / "two.h5")
    data = {"short": RNG.normal(size=(9, 6, 4)).astype("float32"), "long": RNG.normal(size=(9, 12, 4)).astype("float32")}
    told = r"Keras 3 gives the same outputs \(.*\) on {} of the given samples, inputs of shape \(6, 4\) and \(12, 4\)"
    shapes = {"short": (1, 6, 4), "long": (1, 12, 4)}
    result = tfopt.convert(path, quantization="float32", validation_data=data, input_shapes=shapes, runs=1, verbose=False)
    assert any(re.search(told.format(1), note) for note in result.notes), result.notes
    result.save(tmp_path / "two.tflite", keep_failed=True)
    checked = tfopt.check(tmp_path / "two.tflite", reference=path, data=data, verbose=False)
    assert any(note.startswith("the reference: verified:") and re.search(told.format(1), note) for note in checked.notes)


@pytest.mark.parametrize(("channels", "told"), [
    (slice(1), r"gives the same outputs .*; 4 of 12 values are NaN or infinite$"),
    (slice(None), "not compared with Keras 3: all outputs are NaN or infinite on 4 made-up samples"),
])  # fmt: skip
def test_outputs_that_are_not_numbers(tmp_path, channels, told):
    layers = tf_keras.layers
    source = layers.Input((3,), batch_size=4)
    path = saved(tf_keras.Model(source, layers.BatchNormalization(name="norm")(source)), tmp_path / "norm.h5")
    with h5py.File(path, "r+") as file:
        file["model_weights/norm/norm/moving_variance:0"][channels] = -1.0
    _, steps = load_file(path, LoadOptions()).verified()
    assert re.search(told, steps[-1]), steps[-1]
