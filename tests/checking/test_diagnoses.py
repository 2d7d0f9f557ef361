"""Each cause of error is found in a model that was built to have it, and not in the same model without it."""

import keras
import numpy as np
import pytest
from exported import tflite_of

import tfopt
from tfopt.checking import diagnoses
from tfopt.checking.layer_facts import Cause

L = keras.layers


def noise(*shape, scale=1.0, seed=0):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype("float32")


def pixels(count, high=1.0, seed=0):
    return (high * np.random.default_rng(seed).random((count, 8, 8, 3))).astype("float32")


def model_of(*layers, shape=(8, 8, 3)):
    """A functional model of layers one after the other."""
    keras.utils.set_random_seed(0)
    source = output = keras.Input(shape, name="source")
    for layer in layers:
        output = layer(output)
    return keras.Model(source, output)


def found(model, calibration, data):
    """{kind: cause} of the int8 file that was calibrated on the first data, checked on the others."""
    result = tfopt.check(tflite_of(model, calibration), reference=model, data=data, layers=True)
    return {cause.kind: cause for cause in result.causes}


def cnn(*first):
    return model_of(
        *first,
        L.Conv2D(6, 3, name="conv"),
        L.BatchNormalization(name="norm"),
        L.ReLU(name="relu"),
        L.GlobalAveragePooling2D(name="pool"),
        L.Dense(4, name="head"),
    )


@pytest.mark.parametrize(
    ("first", "calibrated", "given"),
    [([], 255.0, 1.0), ([], 1 / 255, 1.0), ([L.Rescaling(1 / 255, name="scaling")], 1.0, 255.0)],
    ids=["raw pixels", "scaled twice", "scaled, though the model scales"],
)
def test_calibration_data_of_another_scale(first, calibrated, given):
    result = found(cnn(*first), pixels(40, calibrated), pixels(40, given, seed=1))
    assert set(result) == {"calibration-scaling"}
    cause = result["calibration-scaling"]
    assert cause.layer == "source" and "25" in cause.what and "scaled once" in cause.remedy
    assert ("scaling (Rescaling)" in cause.what) == bool(first)


def test_the_same_wrong_scale_in_calibration_and_validation():
    model = cnn(L.Rescaling(1 / 255, name="scaling"))
    cause = found(model, pixels(40), pixels(40, seed=1))["calibration-scaling"]
    assert "look scaled already" in cause.what
    assert found(model, pixels(40, 255.0), pixels(40, 255.0, seed=1)) == {}


def test_a_range_that_is_too_narrow():
    cause = found(cnn(), noise(40, 8, 8, 3, scale=0.25), noise(40, 8, 8, 3, seed=1))["calibration-narrow"]
    assert cause.layer == "source" and "cut off" in cause.what and "relu" in cause.others


def test_a_range_that_is_too_wide():
    """A single extreme sample among the calibration data stretches every range."""
    calibration = noise(40, 8, 8, 3)
    calibration[7] *= 6
    cause = found(cnn(), calibration, noise(40, 8, 8, 3, scale=0.7, seed=1))["calibration-wide"]
    assert cause.layer == "source" and "% of its range is used" in cause.what and "relu" in cause.others


def with_kernel(layer, change):
    kernel, *rest = layer.get_weights()
    layer.set_weights([change(kernel.copy()), *rest])


def stretched(factor):
    def change(kernel):
        kernel[..., 2] *= factor
        return kernel

    return change


def test_one_channel_that_is_much_larger_than_the_others():
    model = cnn()
    with_kernel(model.get_layer("conv"), stretched(60))
    result = found(model, noise(40, 8, 8, 3), noise(40, 8, 8, 3, seed=1))
    cause = result["outlier-channel"]
    assert set(result) == {"outlier-channel"}
    assert cause.layer in ("relu", "pool") and {cause.layer, *cause.others} == {"relu", "pool"}
    assert "channel 2 reaches" in cause.what


def joined(factor):
    keras.utils.set_random_seed(0)
    source = keras.Input((8, 8, 3), name="source")
    branches = [L.Conv2D(4, 3, name="left")(source), L.Conv2D(4, 3, name="right")(source)]
    model = keras.Model(source, L.Dense(4, name="head")(L.GlobalAveragePooling2D()(L.Concatenate(name="join")(branches))))
    with_kernel(model.get_layer("right"), lambda kernel: factor * kernel)
    return model


def test_concatenated_ranges_that_differ():
    data = noise(40, 8, 8, 3), noise(40, 8, 8, 3, seed=1)
    cause = found(joined(50), *data)["concat-ranges"]
    assert cause.layer == "join" and "share one scale" in cause.what
    assert found(joined(2), *data) == {}


@pytest.mark.parametrize(
    ("activation", "as_layer"),
    [
        pytest.param("swish", True, id="layer-swish"),
        pytest.param("gelu", False, id="argument-gelu"),
        pytest.param("gelu", True, id="layer-gelu", marks=pytest.mark.slow),
        pytest.param("swish", False, id="argument-swish", marks=pytest.mark.slow),
    ],
)
def test_negative_tail_on_few_levels(activation, as_layer):
    def model(factor):
        layers = [L.Conv2D(6, 3, name="conv"), L.Activation(activation, name="act")]
        if not as_layer:
            layers = [L.Conv2D(6, 3, name="act", activation=activation)]
        built = model_of(*layers, L.GlobalAveragePooling2D(name="pool"), L.Dense(4, name="head"))
        with_kernel(built.layers[1], lambda kernel: factor * kernel)
        return built

    data = noise(40, 8, 8, 3), noise(40, 8, 8, 3, seed=1)
    result = found(model(40), *data)
    cause = result["activation-tail"]
    assert set(result) == {"activation-tail"} and cause.layer == "act"
    assert "of its values are negative" in cause.what and "levels" in cause.what
    assert found(model(1), *data) == {}


def test_batchnorm_that_is_not_folded():
    def model(*layers):
        built = model_of(*layers, L.GlobalAveragePooling2D(), L.Dense(4, name="head"))
        norm = next(layer for layer in built.layers if layer.name == "norm")
        generator = np.random.default_rng(0)
        norm.set_weights([generator.uniform(0.5, 1.5, weight.shape) for weight in norm.get_weights()])
        return built

    data = noise(40, 8, 8, 3), noise(40, 8, 8, 3, seed=1)
    norm, relu = (lambda: L.BatchNormalization(name="norm")), (lambda: L.ReLU(name="relu"))
    for after in ([], [relu(), L.Conv2D(6, 3)]):
        cause = found(model(L.Conv2D(6, 3, activation="relu"), norm(), *after), *data)["unfolded-batchnorm"]
        assert cause.layer == "norm" and "ADD" in cause.what
    assert found(model(L.Conv2D(6, 3), norm(), relu()), *data) == {}


def test_float_island():
    model = model_of(
        L.Conv2D(6, 3, name="conv"),
        L.Reshape((6, 6, 6, 1)),
        L.Conv3D(2, 3, name="volume"),
        L.Flatten(),
        L.Dense(4),
        shape=(8, 8, 3),
    )
    cause = found(model, noise(40, 8, 8, 3), noise(40, 8, 8, 3, seed=1))["float-island"]
    assert cause.layer == "volume" and "CONV_3D" in cause.what


def test_few_values_tell_nothing_of_ranges():
    small = model_of(L.Dense(3, name="hidden", activation="relu"), L.Dense(2, name="head"), shape=(4,))
    rows = noise(100, 4)
    assert found(small, rows, 0.05 * rows[:5]) == {}
    assert set(found(small, rows, 0.05 * rows)) == {"calibration-scaling"}


def test_softmax_classes_that_never_occur_are_no_outliers():
    model = model_of(L.Dense(12, activation="softmax", name="classes"), shape=(4,))
    model.layers[-1].set_weights([noise(4, 12), np.array([8.0, 8.0] + [-8.0] * 10)])
    assert found(model, noise(100, 4), noise(60, 4, seed=1)) == {}


def test_a_softmax_whose_values_are_a_few_steps():
    """Of 2,000 classes none reaches a sixteenth of the range that int8 fixes."""
    model = model_of(L.Dense(2000, activation="softmax", name="classes"), shape=(16,))
    cause = found(model, noise(60, 16), noise(40, 16, seed=1))["fixed-range"]
    assert cause.layer == "classes" and "levels of the fixed range of SOFTMAX" in cause.what
    few = model_of(L.Dense(20, activation="softmax", name="classes"), shape=(16,))
    assert found(few, noise(60, 16), noise(40, 16, seed=1)) == {}


def test_a_sigmoid_that_is_saturated():
    model = model_of(L.Dense(4, activation="sigmoid", name="scores"), shape=(6,))
    model.layers[-1].set_weights([noise(6, 4, scale=0.2), np.full(4, 9.0)])
    cause = found(model, noise(60, 6), noise(40, 6, seed=1))["fixed-range"]
    assert cause.layer == "scores" and "levels of the fixed range of LOGISTIC" in cause.what and "--logits" in cause.remedy
    model.layers[-1].set_weights([noise(6, 4), np.zeros(4)])
    assert found(model, noise(60, 6), noise(40, 6, seed=1)) == {}


def test_a_normalization_of_mixed_units():
    def causes(units):
        data, given = (units * noise(80, 3, seed=seed) for seed in (0, 1))
        scaling = L.Normalization(mean=[0.0] * 3, variance=units**2, name="scaling")
        model = model_of(scaling, L.Dense(8, activation="relu"), L.Dense(2, name="head"), shape=(3,))
        return found(model, data.astype("float32"), given.astype("float32"))

    cause = causes(np.array([1.0, 1000.0, 300.0]))["mixed-units"]
    assert cause.layer == "source" and "feature 0" in cause.what and "1 of 3 features" in cause.what
    assert "mixed-units" not in causes(np.array([1.0, 3.0, 2.0]))


def test_a_quantization_aware_model_that_begins_with_rescaling():
    data = pixels(40, 255.0), pixels(40, 255.0, seed=1)
    model = tfopt.quantize_aware(cnn(L.RandomFlip(), L.Rescaling(1 / 255, name="scaling")))
    tfopt.calibrate(model, data[0], verbose=False)
    content = tfopt.convert(model, runs=1, verbose=False, validation_data=data[1]).tflite
    result = tfopt.check(content, reference=model, data=data[1], layers=True)
    assert "calibration-scaling" not in {cause.kind for cause in result.causes}


def test_every_cause_has_a_remedy_of_one_sentence():
    for kind, (_, remedy) in diagnoses.CAUSES.items():
        assert kind in Cause.__doc__ and remedy.endswith(".") and ". " not in remedy


def test_a_small_branch_of_a_residual_sum_is_no_wide_calibration():
    """The converter gives the branch the range of the sum."""
    keras.utils.set_random_seed(0)
    source = keras.Input((8, 8, 3), name="source")
    branch = L.Conv2D(3, 3, padding="same", name="branch")(source)
    model = keras.Model(source, L.Conv2D(2, 1, name="head")(L.Add(name="sum")([source, branch])))
    with_kernel(model.get_layer("branch"), lambda kernel: 1e-3 * kernel)
    assert found(model, noise(40, 8, 8, 3), noise(40, 8, 8, 3, seed=1)) == {}


def test_causes_are_printed_with_their_remedies():
    model = cnn(L.Rescaling(1 / 255, name="scaling"))
    printed = str(tfopt.check(tflite_of(model, pixels(20)), reference=model, data=pixels(20, 255.0), layers=True))
    assert "calibration-scaling: source: the calibration data" in printed and "  -> Prepare the representative data" in printed
