"""Selectors: globs of names and paths, classes, functions; what matches nothing is an error."""

import keras
import pytest

from tfopt.errors import ArgumentError
from tfopt.keras_model.select import left_out_layers, select
from tfopt.keras_model.walk import walk


@pytest.fixture(scope="module")
def model():
    dense = keras.layers.Dense
    inner = keras.Sequential([keras.Input((4,)), dense(4, name="dense_1"), dense(4, name="block[0]")], name="inner")
    return keras.Sequential([keras.Input((4,)), dense(4, name="dense"), inner, keras.layers.ReLU(name="relu")])


@pytest.fixture(scope="module")
def places(model):
    return list(walk(model))


@pytest.mark.parametrize(
    "selectors, expected",
    [
        (None, []),
        ("dense", [0]),
        ("dense*", [0, 2]),
        ("inner/dense*", [2]),
        ("inner", [1, 2, 3]),  # layers in it as well
        ("block[0]", [3]),  # the name itself, although it is a glob too
        (keras.layers.ReLU, [4]),
        (lambda layer: layer.name.endswith("1"), [2]),
        (["relu", keras.layers.Dense], [0, 2, 3, 4]),
        (("dense", "dense"), [0]),
        ({"dense", "relu"}, [0, 4]),
        (frozenset({"dense", "relu"}), [0, 4]),
    ],
    ids=["None", "name", "glob", "path", "model", "name like a glob", "class", "function", "list", "tuple", "set", "frozenset"],
)
def test_what_selectors_match(places, selectors, expected):
    included, excluded = select(places, selectors, "relu")
    assert sorted(included) == expected and excluded == {4}
    assert select(places, None, selectors) == (frozenset(), frozenset(expected))


@pytest.mark.parametrize("selector", ["dens", keras.layers.Conv2D, lambda layer: False], ids=["name", "class", "function"])
def test_what_matches_nothing(places, selector):
    with pytest.raises(ArgumentError, match="exclude must match layers.*Received: exclude=.*, which matches no layer"):
        select(places, None, ["relu", selector])


def test_close_names_and_wrong_types(places):
    with pytest.raises(ArgumentError, match=r"Closest: dense, dense_1\."):
        select(places, "dens", None)
    with pytest.raises(ArgumentError, match="There are: block"):
        select(places, "x", None)
    with pytest.raises(ArgumentError, match=r"include takes globs .* Received: include=3\."):
        select(places, 3, None)


def test_layers_that_are_left_out(model):
    def names(include, exclude):
        left_out = left_out_layers(model, include, exclude)
        return [layer.name for layer in (*model.layers, *model.get_layer("inner").layers) if id(layer) in left_out]

    assert names(None, None) == []
    assert names(None, ["relu", "inner/dense_1"]) == ["relu", "dense_1"]
    assert names(keras.layers.Dense, "dense") == ["dense", "inner", "relu"]
    assert names("inner", None) == ["dense", "relu"]
