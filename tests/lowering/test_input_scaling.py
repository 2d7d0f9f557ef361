"""The layer that scales the inputs is found where it comes first, and nowhere else."""

import keras
import pytest
import tf_keras

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


def test_augmentation_and_noise_may_come_before(framework):
    layers = framework.layers
    before = [layers.RandomFlip(), layers.RandomRotation(0.1), layers.GaussianNoise(0.1), layers.Dropout(0.1)]
    assert find_input_scaling(sequential(framework, *before, rescaling(framework), layers.Flatten())).name == "scaling"
    assert find_input_scaling(sequential(framework, layers.RandomCrop(2, 2), rescaling(framework))) is None
