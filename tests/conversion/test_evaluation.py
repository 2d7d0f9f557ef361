"""`Int8Evaluation` while a quantization-aware model trains, and the conversion of that model."""

import keras
import numpy as np
import pytest

import tfopt

RNG = np.random.default_rng(0)
X, Y = RNG.random((160, 6, 4)).astype("float32"), RNG.integers(0, 3, 160)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    stack = [keras.Input((6, 4), name="x"), layers.Conv1D(8, 3, activation="relu"), layers.Flatten(), layers.Dense(3, name="class")]
    return keras.Sequential(stack, name="net")


@pytest.fixture(scope="module")
def history_and_model(model):
    qat = tfopt.quantize_aware(model)
    qat.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"], jit_compile=False)
    evaluation = tfopt.Int8Evaluation((X, Y), validation_freq=2)
    history = qat.fit(X, Y, epochs=4, validation_data=(X, Y), verbose=0, callbacks=[evaluation])
    return history.history, qat


def test_evaluation_is_that_of_the_file_and_the_file_is_the_model(history_and_model):
    history, _ = history_and_model
    assert len(history["val_int8_accuracy"]) == 2, "every other epoch"
    # One sample between two classes may fall to either side, as kernels round a sum to either side.
    np.testing.assert_allclose(history["val_int8_accuracy"], history["val_accuracy"][1::2], atol=1 / len(X) + 1e-6)


def test_half_precision_is_rebuilt_under_float32():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        qat = tfopt.quantize_aware(
            keras.Sequential([keras.Input((6, 4)), keras.layers.Flatten(), keras.layers.Dense(3, name="class")])
        )
        qat.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"], jit_compile=False)
        history = qat.fit(X, Y, verbose=0, callbacks=[tfopt.Int8Evaluation((X, Y))]).history
    finally:
        keras.config.set_dtype_policy("float32")
    result = tfopt.convert(qat, validation_data=(X, Y), runs=3)
    assert result.check.passed and result.check.outputs[0].most_error_lsb <= 1
    assert result.check.accuracy == pytest.approx(history["val_int8_accuracy"][0], abs=1e-6)


def test_converts_without_data_and_compares_with_both_models(history_and_model, model):
    result = tfopt.convert(history_and_model[1], validation_data=(X, Y), float_model=model, runs=3)
    assert result.check.passed, result.check.reasons
    assert result.check.outputs[0].most_error_lsb <= 1
    assert result.representative_data == "none needed: the ranges come from training"
    assert result.float_check.outputs[0].sqnr < result.check.outputs[0].sqnr, "training moved the model away from its origin"
    report = result.report()
    assert report["float_check"]["outputs"][0]["most_error_lsb"] is not None
    assert result.benchmark.against.bytes > 0


def test_refuses_what_training_did_not_prepare(history_and_model, model):
    _, qat = history_and_model
    for options in ({"quantization": "float16"}, {"quantization": "int16x8"}, {"ptq": "best"}):
        with pytest.raises(tfopt.ArgumentError, match="strip_quantization"):
            tfopt.convert(qat, representative_data=X, **options)
    with pytest.raises(tfopt.ArgumentError, match="float_model"):
        tfopt.convert(model, representative_data=X, float_model=model)
    with pytest.raises(tfopt.DataError, match="no range for x_quantize, .*representative_data"):
        tfopt.convert(tfopt.quantize_aware(model), validation_data=(X, Y))


@pytest.mark.parametrize(("data", "every"), [(X, 1), ((X, Y), 0), ((X, Y), True)])
def test_evaluation_refuses_what_it_cannot(data, every):
    with pytest.raises(tfopt.ArgumentError, match="Received"):
        tfopt.Int8Evaluation(data, every)
