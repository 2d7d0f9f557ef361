"""Models that computed in float16 or bfloat16, of both generations: rebuilt under float32, the weights as they were."""

import keras
import numpy as np
import pytest
import tf_keras

import tfopt
from tfopt.loading.float32 import as_float32
from tfopt.loading.load import load_file
from tfopt.loading.options import LoadOptions


def build(library, policy):
    layers = library.layers
    inner = library.Sequential(
        [layers.InputLayer((8, 8, 3)), layers.Conv2D(4, 3, dtype=policy), layers.BatchNormalization(dtype=policy)], name="inner"
    )
    source = library.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D(dtype=policy)(inner(source))
    return library.Model(source, layers.Dense(3, dtype="float32")(x))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("library", [keras, tf_keras], ids=["Keras 3", "Keras 2"])
def test_models_in_memory_and_in_files(tmp_path, library, policy):
    model = build(library, policy)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    rebuilt = as_float32(model)
    assert {layer.compute_dtype for layer in [*rebuilt.layers, *rebuilt.get_layer("inner").layers]} == {"float32"}
    for ours, theirs in zip(rebuilt.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(rebuilt(x), model(x), atol=2e-2)
    for name in ("mixed.h5", "mixed.keras"):
        model.save(tmp_path / name)
        loaded, steps = load_file(tmp_path / name, LoadOptions()).verified()
        np.testing.assert_allclose(loaded(x), rebuilt(x), atol=1e-5)
        assert any("rebuilt under float32" in step for step in steps), steps


def test_a_float32_model_stays_itself(classifier):
    assert as_float32(classifier) is classifier


def test_subclassed_models_are_told_what_to_do():
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(2, dtype="mixed_float16", name="half")

        def call(self, x):
            return self.dense(x)

    model = Subclassed()
    model(np.ones((1, 3)))
    with pytest.raises(tfopt.ArgumentError, match=r"half \(Dense\) in float16.*set_dtype_policy"):
        as_float32(model)
