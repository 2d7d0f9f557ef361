"""The layer that scales the inputs is found where it comes first, and nowhere else."""

import keras
import numpy as np
import pytest
import tf_keras

import tfopt
from tfopt.lowering.input_scaling import find_input_scaling


@pytest.fixture(params=[keras, tf_keras], ids=["keras3", "keras2"])
def framework(request):
    return request.param


def rescaling(framework):
    return framework.layers.Rescaling(1 / 255, name="scaling")


def normalization(framework):
    return framework.layers.Normalization(mean=[120.0] * 3, variance=[3600.0] * 3, name="scaling")


def sequential(framework, *layers):
    return framework.Sequential([framework.Input((4, 4, 3)), *layers])


def functional(framework, *layers):
    image = outputs = framework.Input((4, 4, 3))
    for layer in layers:
        outputs = layer(outputs)
    return framework.Model(image, outputs)


@pytest.mark.parametrize("make", [rescaling, normalization])
@pytest.mark.parametrize("build", [sequential, functional])
def test_input_scaling_is_found_where_it_comes_first(build, make, framework):
    layer = make(framework)
    assert find_input_scaling(build(framework, layer, framework.layers.Flatten())) is layer
    inner = build(framework, layer, framework.layers.Flatten())
    assert find_input_scaling(build(framework, inner)) is layer
    assert find_input_scaling(build(framework, build(framework, inner), framework.layers.Flatten())) is layer


@pytest.mark.parametrize("make", [rescaling, normalization])
@pytest.mark.parametrize("build", [sequential, functional])
def test_input_scaling_is_none_where_it_comes_later_or_never(build, make, framework):
    pooling = framework.layers.MaxPooling2D(2)
    assert find_input_scaling(build(framework, pooling)) is None
    assert find_input_scaling(build(framework, pooling, make(framework))) is None
    assert find_input_scaling(build(framework, build(framework, framework.layers.ReLU()), make(framework))) is None


def test_the_first_of_two_scaling_layers_counts(framework):
    first, second = rescaling(framework), framework.layers.Rescaling(2.0, name="second")
    assert find_input_scaling(sequential(framework, first, second)) is first


@pytest.mark.parametrize("make", [rescaling, normalization])
def test_rounding_of_a_quantization_aware_model_may_come_before(make):
    def model():
        return functional(keras, make(keras), keras.layers.Conv2D(2, 3), keras.layers.Flatten(), keras.layers.Dense(2))

    found = find_input_scaling(tfopt.quantize_aware(model()))
    assert found is not None and type(found).__name__ in ("Rescaling", "Normalization")


@pytest.mark.parametrize("name", ["AugMix", "CutMix", "Equalization", "MixUp", "RandAugment", "Solarization"])
def test_augmentation_of_keras_3_that_does_nothing_at_inference(name):
    layer = getattr(keras.layers, name)()
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(layer(pixels, training=False), pixels)
    scaling = rescaling(keras)
    assert find_input_scaling(sequential(keras, layer, scaling)) is scaling


def test_augmentation_and_noise_may_come_before(framework):
    layers = framework.layers
    before = [layers.RandomFlip(), layers.RandomRotation(0.1), layers.GaussianNoise(0.1), layers.Dropout(0.1)]
    assert find_input_scaling(sequential(framework, *before, rescaling(framework), layers.Flatten())).name == "scaling"
    assert find_input_scaling(sequential(framework, layers.RandomCrop(2, 2), rescaling(framework))) is None
