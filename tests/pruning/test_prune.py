"""`prune()` against NumPy, on models of both generations; the caller's model stays as it is."""

import keras
import numpy as np
import pytest
import tf_keras
from keras import layers

import tfopt
from tfopt.keras_model.copy import copy_model


def build(kind=keras):
    kind.utils.set_random_seed(0)
    model = kind.Sequential(
        [
            kind.layers.Conv2D(8, 3, activation="relu", name="conv"),
            kind.layers.DepthwiseConv2D(3, name="depthwise"),
            kind.layers.Flatten(),
            kind.layers.Dense(16, name="dense"),
            kind.layers.Dense(4, name="head"),
        ]
    )
    model.build((None, 8, 8, 4))
    return model


def kernel(model, name):
    return next(weight for weight in model.get_layer(name).weights if "kernel" in weight.name).numpy()


@pytest.mark.parametrize("kind", [keras, tf_keras], ids=["keras 3", "keras 2"])
def test_sparsity_of_each_layer(kind):
    model = build(kind)
    before = model.get_weights()
    pruned = tfopt.prune(model, sparsity=0.7)
    assert isinstance(pruned, kind.Model) and pruned is not model
    for name, share in {"conv": 0.7, "dense": 0.7, "depthwise": 0, "head": 0}.items():
        old, new = kernel(model, name), kernel(pruned, name)
        smallest = np.sort(np.abs(old).ravel())[: round(old.size * share)]
        assert (new == 0).sum() == len(smallest)
        np.testing.assert_array_equal(new[new != 0], old[new != 0])
        assert not len(smallest) or np.abs(old)[new == 0].max() == smallest[-1]
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_global_sparsity_has_one_threshold():
    model = build()
    model.get_layer("dense").kernel.assign(model.get_layer("dense").kernel / 2)
    pruned = tfopt.prune(model, sparsity=0.5, scope="global")
    old = np.concatenate([kernel(model, name).ravel() for name in ("conv", "dense")])
    new = np.concatenate([kernel(pruned, name).ravel() for name in ("conv", "dense")])
    assert (new == 0).sum() == old.size // 2
    assert np.abs(old)[new == 0].max() < np.abs(old)[new != 0].min()
    assert (kernel(pruned, "dense") == 0).mean() > 0.51 > 0.49 > (kernel(pruned, "conv") == 0).mean()


def test_threshold():
    model = build()
    model.get_layer("dense").bias.assign(np.full(16, 0.001))
    pruned = tfopt.prune(model, threshold=0.05, include=["dense", "depthwise"])
    for name in ("dense", "depthwise"):
        np.testing.assert_array_equal(kernel(pruned, name) == 0, np.abs(kernel(model, name)) <= 0.05)
    assert (kernel(pruned, "conv") != 0).all() and (pruned.get_layer("dense").bias.numpy() != 0).all()


def test_patterns_and_plans():
    model = build()
    pruned = tfopt.prune(model, pattern=tfopt.NByM(2, 4))
    groups = kernel(pruned, "dense").reshape(-1, 4, 16)
    assert (np.count_nonzero(groups, axis=1) == 2).all()
    pruned = tfopt.prune(model, {"dense": 0.25, "conv": 0.75})
    assert [(kernel(pruned, name) == 0).mean() for name in ("dense", "conv")] == pytest.approx([0.25, 0.75])


def test_subclassed_and_custom_layers():
    @keras.saving.register_keras_serializable("tests")
    class Net(keras.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.first, self.last = layers.Dense(8, name="first"), layers.Dense(2, name="last")

        def build(self, shape):
            self.first.build(shape)
            self.last.build((*shape[:-1], 8))

        def call(self, x):
            return self.last(self.first(x))

    model = Net(name="net")
    model.build((None, 8))
    model(np.ones((1, 8), "float32"))
    pruned = tfopt.prune(model, 0.5)
    assert (pruned.first.kernel.numpy() == 0).mean() == 0.5 and (pruned.last.kernel.numpy() != 0).all()

    class Closed(keras.Model):
        def __init__(self, units):
            super().__init__()
            self.first = layers.Dense(units[0])

        def call(self, x):
            return self.first(x)

        def get_config(self):
            raise NotImplementedError

    closed = Closed([8])
    closed(np.ones((1, 8), "float32"))
    with pytest.raises(tfopt.ArgumentError, match="make again from its configuration"):
        tfopt.prune(closed, 0.5)


@pytest.mark.parametrize(
    "options, words",
    [
        ({}, "either a sparsity or a threshold"),
        ({"sparsity": 0.5, "threshold": 0.1}, "either a sparsity or a threshold"),
        ({"sparsity": 50}, "50"),
        ({"threshold": -1}, "threshold must be a number of 0 or more"),
        ({"threshold": float("nan")}, "threshold must be"),
        ({"threshold": "small"}, "threshold must be"),
        ({"threshold": [0.1]}, "threshold must be"),
        ({"threshold": 0.1, "pattern": tfopt.Block((2, 2))}, "with pattern=tfopt.Unstructured"),
        ({"sparsity": 0.8, "pattern": tfopt.NByM(2, 4)}, "only end with a sparsity of 0.5"),
        ({"sparsity": 0.5, "include": "nothing"}, "matches no layer"),
        ({"sparsity": 0.5, "include": 3}, "takes globs"),
        ({"sparsity": 0.5, "scope": "model"}, "scope must be"),
        ({"sparsity": 0.5, "pattern": tfopt.Block((7, 1)), "include": "dense"}, "does not divide into blocks of 7 x 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_arguments(options, words):
    with pytest.raises(tfopt.ArgumentError, match=words):
        tfopt.prune(build(), **options)


@pytest.mark.parametrize(
    "function", [lambda model: tfopt.prune(model, 0.5), tfopt.sparsity_report], ids=["prune", "sparsity_report"]
)
def test_what_is_no_model_or_not_built(function):
    with pytest.raises(tfopt.ArgumentError, match=r"tfopt.load\(path\).*Received: str 'model.keras'\."):
        function("model.keras")
    for kind in (keras, tf_keras):
        with pytest.raises(tfopt.ArgumentError, match=r"must be built.*\(Sequential\), which is not built"):
            function(kind.Sequential([kind.layers.Dense(3)]))


def test_a_name_with_the_signs_of_a_glob():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(8, name="block[0]"), layers.Dense(8, name="block[1]")])
    pruned = tfopt.prune(model, 0.5, include="block[0]")
    assert [weight.sparsity for weight in tfopt.sparsity_report(pruned).weights] == [0.5, 0]


def test_weights_that_are_no_numbers():
    model = build()
    model.get_layer("dense").kernel.assign(np.full((128, 16), np.inf))
    with pytest.raises(tfopt.PruningError, match="NaN or infinity in dense/kernel"):
        tfopt.prune(model, 0.5)


def test_a_copy_in_keras_2_is_another_model():
    model = build(tf_keras)
    copy = copy_model(model)
    copy.get_layer("dense").kernel.assign(np.zeros((128, 16)))
    assert kernel(model, "dense").any()
