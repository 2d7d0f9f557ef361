"""`split`: the parts together compute what the model does."""

import keras
import numpy as np
import pytest
import tf_keras

import tfopt


def build(module):
    layers = module.layers
    image = module.Input((8, 8, 1), name="image")
    x = layers.Rescaling(2.0, name="scale")(image)
    x = layers.Conv2D(4, 3, name="features")(x)
    x = layers.Flatten(name="flat")(x)
    boxes, scores = layers.Dense(8, name="boxes")(x), layers.Dense(4, name="scores")(x)
    joined = layers.Concatenate(name="join")([boxes, scores])
    return module.Model(image, layers.Softmax(name="classes")(joined))


@pytest.mark.parametrize("module", [keras, tf_keras], ids=["keras3", "keras2"])
@pytest.mark.parametrize("at", [("scale", "join"), ("scale", None), (None, "join"), ("flat", "classes")], ids=str)
def test_the_parts_compute_what_the_model_does(module, at):
    model = build(module)
    x = np.random.default_rng(0).normal(size=(5, 8, 8, 1)).astype("float32")
    before, body, after = tfopt.split(model, at=at)
    assert (before is None, after is None) == tuple(name is None for name in at)
    result = x
    for part in (before, body, after):
        result = part.predict(result, verbose=0) if part is not None else result
    np.testing.assert_allclose(result, model.predict(x, verbose=0), atol=1e-6)
    assert model.get_layer("features").kernel is body.get_layer("features").kernel if at[0] != "flat" else True


def test_the_body_ships():
    @keras.saving.register_keras_serializable("tests")
    class Gamma(keras.layers.Layer):
        def call(self, scores):
            import tensorflow as tf

            return tf.reduce_sum(tf.math.igamma(1.0, scores), -1, keepdims=True)

    inner = build(keras)
    model = keras.Model(inner.input, Gamma(name="gamma")(inner.output))
    x = np.random.default_rng(0).normal(size=(40, 8, 8, 1)).astype("float32")
    with pytest.raises(tfopt.ConversionError, match="Igamma.*'gamma'.*tfopt.split"):
        tfopt.convert(model, representative_data=x, runs=1)
    _, body, after = tfopt.split(model, at=(None, "gamma"))
    result = tfopt.convert(body, representative_data=x, runs=1)
    assert result.check.passed
    assert after(tfopt.Interpreter(result.tflite)(x[:2])).shape == (2, 1)


@pytest.mark.parametrize(
    ("at", "match"),
    [
        (("nothing", None), "must name layers.*'nothing'.*There are: image, scale"),
        ((None, None), "pair of names.*Received: at="),
        ("scale", "pair of names"),
        (("boxes", None), "skip connection"),
    ],
)
def test_bad_places(at, match):
    with pytest.raises(tfopt.ArgumentError, match=match):
        tfopt.split(build(keras), at=at)


def test_a_subclassed_model_is_refused():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    model = Own()
    model(np.zeros((1, 3), "float32"))
    with pytest.raises(tfopt.ArgumentError, match="must be Functional or Sequential"):
        tfopt.split(model, at=("dense", None))
