"""Quantization-aware training as people use it: ways to compile, callbacks, strategies, pruning at the same time, refusals."""

import keras
import numpy as np
import pytest
from on_two_devices import require_held
from quantized_layers import parity, to_bytes, to_int8, trained
from small_nets import IMAGES, LABELS, chain, classifier, compiled

import tfopt

layers = keras.layers


@pytest.mark.parametrize(
    "options", [{"steps_per_execution": 4}, {"jit_compile": True}, {"run_eagerly": True}], ids=lambda options: next(iter(options))
)
@pytest.mark.parametrize("ranges", ["moving_average", pytest.param("learned", marks=pytest.mark.slow)])
def test_trains_however_it_is_compiled(ranges, options):
    qat = compiled(tfopt.quantize_aware(classifier(), ranges=ranges), **options)
    qat.fit(IMAGES, LABELS, batch_size=16, epochs=1, verbose=0)
    assert not tfopt.quantization_report(qat).unseen
    low, high = qat.get_layer("image_quantize").range
    assert low == pytest.approx(0, abs=0.05) and high == pytest.approx(1, abs=0.05)


def test_nan_in_the_data_is_a_clear_error():
    qat = compiled(tfopt.quantize_aware(classifier()))
    images = IMAGES.copy()
    images[3, 2, 2, 0] = np.nan
    with pytest.raises(Exception, match="NaN or infinite values in the input 'image'"):
        qat.fit(images, LABELS, verbose=0)


def test_zero_variance_channel_and_batch_of_one():
    model = classifier()
    kernel = model.get_layer("conv").kernel.numpy()
    kernel[..., 0] = 0
    model.get_layer("conv").kernel.assign(kernel)
    qat = compiled(tfopt.quantize_aware(model))
    qat.fit(IMAGES, LABELS, batch_size=1, epochs=1, steps_per_epoch=8, verbose=0)
    assert all(np.isfinite(value).all() for value in qat.get_weights())
    assert parity(qat, to_int8(qat), IMAGES)[0].most_error_lsb <= 1


def test_mixed_precision_rounds_in_float32():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        qat = compiled(tfopt.quantize_aware(classifier()))
        history = qat.fit(IMAGES, LABELS, epochs=1, verbose=0)
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(history.history["loss"]).all() and qat.get_layer("conv").layer.kernel.dtype == "float32"


def test_checkpoint_backup_and_early_stopping(tmp_path):
    qat = compiled(tfopt.quantize_aware(classifier()))
    callbacks = [
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="loss"),
        keras.callbacks.BackupAndRestore(tmp_path / "backup"),
        keras.callbacks.EarlyStopping(monitor="loss", restore_best_weights=True),
    ]
    qat.fit(IMAGES, LABELS, epochs=2, verbose=0, callbacks=callbacks)
    loaded = keras.saving.load_model(tmp_path / "best.keras")
    assert not tfopt.quantization_report(loaded).unseen


def test_batch_normalization_statistics_may_stay():
    qat = compiled(tfopt.quantize_aware(classifier(), freeze_batch_normalization=True))
    layer = next(layer for layer in qat.layers if isinstance(layer, layers.BatchNormalization))
    mean, gamma = layer.moving_mean.numpy(), layer.gamma.numpy()
    qat.fit(IMAGES, LABELS, epochs=1, verbose=0)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), mean)
    assert not np.array_equal(layer.gamma.numpy(), gamma)
    assert type(tfopt.strip_quantization(qat).get_layer(layer.name)) is layers.BatchNormalization


def test_zeros_of_pruning_stay_zeros_in_the_file(tmp_path):
    model = tfopt.prune(classifier(), sparsity=0.8)
    qat = compiled(tfopt.quantize_aware(model))
    qat.fit(IMAGES, LABELS, epochs=2, verbose=0, callbacks=[tfopt.PreserveSparsity()])
    kernel = qat.get_layer("conv").layer.kernel.numpy()
    assert (kernel == 0).mean() == pytest.approx(0.8, abs=1 / kernel.size)
    stripped = tfopt.strip_quantization(qat).get_layer("conv").kernel.numpy()
    (tmp_path / "qat.tflite").write_bytes(to_bytes(qat))
    (weights,) = [each for each in tfopt.inspect(tmp_path / "qat.tflite").tensors if tuple(each.shape) == (8, 3, 3, 3)]
    assert weights.zeros == (stripped == 0).sum() >= (kernel == 0).sum()


def test_pruning_and_quantization_train_together():
    qat = compiled(tfopt.quantize_aware(classifier()))
    qat.fit(IMAGES, LABELS, epochs=4, verbose=0, callbacks=[tfopt.PruningCallback(tfopt.PolynomialDecay(0.5))])
    kernel = qat.get_layer("conv").layer.kernel.numpy()
    assert (kernel == 0).mean() == pytest.approx(0.5, abs=1 / kernel.size)


def test_four_bits_are_levels_of_the_file():
    qat = trained(classifier(), IMAGES, np.random.default_rng(1).random((128, 4)), epochs=1, run_eagerly=True, weight_bits=4)
    interpreter = to_int8(qat)
    assert parity(qat, interpreter, IMAGES)[0].most_error_lsb <= 1
    kernel = tfopt.strip_quantization(qat).get_layer("conv").kernel.numpy()
    assert all(len(np.unique(kernel[..., channel])) <= 15 for channel in range(8))
    with pytest.raises(tfopt.ArgumentError, match="lstm.*exclude"):
        tfopt.quantize_aware(chain(layers.LSTM(4, name="lstm"), shape=(4, 3)), weight_bits=4)


@pytest.mark.parametrize(
    "shared",
    [
        lambda: layers.Conv2D(8, 3, activation="relu", bias_initializer="normal", name="shared"),
        lambda: layers.DepthwiseConv2D(3, bias_initializer="normal", name="shared"),
        lambda: layers.Dense(8, bias_initializer="normal", name="shared"),
    ],
    ids=["conv", "depthwise", "dense"],
)
def test_four_bits_in_a_layer_that_is_called_three_times(shared):
    keras.utils.set_random_seed(0)
    inputs, layer = [keras.Input((6, 6, 3), name=name) for name in "abc"], shared()
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(layer(each)) for each in inputs])
    model = keras.Model(inputs, layers.Dense(4, name="class")(x))
    rng = np.random.default_rng(3)
    x = [rng.normal(0, spread, (64, 6, 6, 3)).astype("float32") for spread in (0.3, 1.0, 4.0)]
    qat = trained(model, x, rng.random((64, 4)), epochs=1, run_eagerly=True, weight_bits=4)
    data = dict(zip("abc", x, strict=True))
    result = tfopt.convert(qat, validation_data=data, runs=1)
    assert result.check.passed and result.check.outputs[0].most_error_lsb <= 2, result.check.reasons
    assert result.rewritten["four_bit_weights"] == 2  # the shared weights count once


INTEGERS = {
    "Dense": ("int32", (8,), lambda: layers.Dense(4)),
    "Conv1D": ("int32", (8, 3), lambda: layers.Conv1D(4, 3)),
    "Conv2D": ("uint8", (8, 8, 3), lambda: layers.Conv2D(4, 3)),
    "EinsumDense": ("int16", (8, 3), lambda: layers.EinsumDense("abc,cd->abd", (8, 4))),
    "LSTM": ("int32", (8, 3), lambda: layers.LSTM(4)),
    "TimeDistributed": ("int32", (8, 3), lambda: layers.TimeDistributed(layers.Dense(4))),
    "AveragePooling2D": ("uint8", (8, 8, 1), lambda: layers.AveragePooling2D(2)),
    "bool": ("bool", (8,), lambda: layers.Dense(4)),
}


@pytest.mark.parametrize("case", INTEGERS)
def test_arithmetic_on_integers_is_refused_and_floats_are_the_way_out(case):
    dtype, shape, make = INTEGERS[case]

    def model(**options):
        source = keras.Input(shape, name="numbers", **options)
        return keras.Model(source, layers.Dense(2)(layers.Flatten()(make()(source))))

    with pytest.raises(tfopt.ArgumentError, match=rf"float inputs. Received: .* on {dtype}.*keras.Input\(shape\)"):
        tfopt.quantize_aware(model(dtype=dtype))
    qat = compiled(tfopt.quantize_aware(model()))
    numbers = np.random.default_rng(0).integers(0, 2, (8, *shape)).astype(dtype)
    qat.fit(numbers, np.zeros(8), verbose=0)
    assert qat.output_shape == (None, 2)


@pytest.mark.parametrize("lookup", [layers.Embedding, getattr(layers, "ReversibleEmbedding", layers.Embedding)])
def test_ids_with_arithmetic_before_and_after_the_lookup(lookup):
    ids = keras.Input((8,), dtype="int32", name="ids")
    rows = lookup(20, 4)(ids // 2 + 1)
    steps = layers.TimeDistributed(keras.Sequential([layers.Embedding(20, 4), layers.Flatten(), layers.Dense(4)]))
    x = layers.Concatenate()([layers.Flatten()(rows * 2.0), layers.Flatten()(steps(keras.ops.expand_dims(ids, -1)))])
    tfopt.quantize_aware(keras.Model(ids, layers.Dense(2)(x)))


@pytest.mark.parametrize(
    "options", [{"weight_bits": 7}, {"activation_bits": 4}, {"ranges": "fixed"}], ids=lambda options: next(iter(options))
)
def test_refuses_what_it_cannot(options):
    with pytest.raises(tfopt.ArgumentError, match="Received"):
        tfopt.quantize_aware(classifier(), **options)


def test_refuses_models_that_it_cannot():
    qat = tfopt.quantize_aware(classifier())
    with pytest.raises(tfopt.ArgumentError, match="already"):
        tfopt.quantize_aware(qat)
    with pytest.raises(tfopt.ArgumentError, match="quantize_aware"):
        tfopt.strip_quantization(classifier())
    with pytest.raises(tfopt.ArgumentError, match="built"):
        tfopt.quantize_aware(keras.Sequential([layers.Dense(3)]))


def test_replicas_agree_on_all_ranges_and_weights(tmp_path_factory):
    require_held("quantization", tmp_path_factory)


def test_outputs_keep_their_names_in_fit_in_saved_models_and_in_files(tmp_path):
    source = keras.Input((8,), name="row")
    hidden = layers.Dense(6, activation="relu")(source)
    model = keras.Model(source, [layers.Dense(3, activation="softmax", name="kind")(hidden), layers.Dense(1, name="size")(hidden)])
    qat = tfopt.quantize_aware(model)
    x = np.random.default_rng(0).normal(size=(60, 8)).astype("float32")
    qat.compile("adam", {"kind": "sparse_categorical_crossentropy", "size": "mse"}, jit_compile=False)
    qat.fit(x, {"kind": np.arange(60) % 3, "size": np.ones(60)}, verbose=0)
    qat.save(tmp_path / "qat.keras")
    for each in (qat, keras.saving.load_model(tmp_path / "qat.keras"), tmp_path / "qat.keras"):
        result = tfopt.convert(each, validation_data=x, runs=1)
        assert [output.name for output in result.check.outputs] == ["kind", "size"]
        assert tfopt.Interpreter(result.tflite).output_names == ["kind", "size"]
    assert tfopt.quantize_aware(keras.Sequential([keras.Input((8,)), layers.Dense(2, name="last")])).output_names == ["last"]


def test_an_untrained_model_is_told_from_one_with_a_range_missing():
    qat = tfopt.quantize_aware(classifier())
    with pytest.raises(tfopt.DataError, match="has not been trained yet.*Call fit, or give .*representative_data"):
        tfopt.convert(qat)
