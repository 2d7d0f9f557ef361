"""Quantization-aware training as people use it: odd nets, callbacks, strategies, pruning beside it, and what is refused."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from quantized_layers import Gated, float_ops, parity, to_bytes, to_int8, trained

import tfopt
from tfopt.quantization.fake_quantize import FakeQuantize

layers = keras.layers
RNG = np.random.default_rng(0)
IMAGES = RNG.random((128, 8, 8, 3)).astype("float32")


def chain(*made, shape=(8, 8, 3)):
    """A Functional model of layers in a row."""
    source = x = keras.Input(shape, name="image")
    for layer in made:
        x = layer(x)
    return keras.Model(source, x, name="net")


def shared():
    source, twice = keras.Input((8, 8, 3), name="image"), layers.Conv2D(3, 3, padding="same", activation="relu", name="twice")
    return keras.Model(source, layers.Flatten()(twice(twice(source))))


def residual_with_shared_tensor():
    source = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same")(source)
    y = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(source, layers.Add()([x, layers.Conv2D(8, 3, padding="same")(y), y]))


def dense_block():
    source = x = keras.Input((8, 8, 3), name="image")
    for _ in range(3):
        x = layers.Concatenate()([x, layers.Conv2D(4, 3, padding="same", activation="relu")(x)])
    return keras.Model(source, layers.Conv2D(4, 1)(x))


def nested():
    inner = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="deep"), layers.BatchNormalization(), layers.ReLU()])
    return chain(inner, layers.Flatten(), layers.Dense(5))


def function_activation():
    return chain(layers.Conv2D(4, 3, activation=keras.activations.relu), layers.Conv2D(4, 3), keras.ops.relu, layers.Flatten())


ODD = {
    "a layer used twice": (shared, 1),
    "BatchNormalization alone": (lambda: chain(layers.BatchNormalization(), layers.Flatten()), 2),
    "BatchNormalization before Conv": (lambda: chain(layers.BatchNormalization(), layers.Conv2D(4, 3)), 4),
    "activation as a string": (lambda: chain(layers.Conv2D(4, 3, activation="silu"), layers.Flatten()), 1),
    "activation as a layer": (lambda: chain(layers.Conv2D(4, 3), layers.Activation("silu"), layers.Flatten()), 1),
    "activation as a function": (function_activation, 1),
    "residual with a shared tensor": (residual_with_shared_tensor, 2),
    "dense block": (dense_block, 1),
    "nested": (nested, 1),
    "ends with softmax": (lambda: chain(layers.Flatten(), layers.Dense(5, activation="softmax")), 1),
    "ends with sigmoid": (lambda: chain(layers.Flatten(), layers.Dense(5, activation="sigmoid")), 1),
    "Rescaling first": (lambda: chain(layers.Rescaling(2.0, offset=-1.0), layers.Conv2D(4, 3, activation="relu")), 1),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_nets_keep_parity(name):
    make, limit = ODD[name]
    keras.utils.set_random_seed(0)
    model = make()
    targets = RNG.random((128, *model.output.shape[1:])).astype("float32")
    qat = trained(model, IMAGES, targets, epochs=2, run_eagerly=True)
    interpreter = to_int8(qat, IMAGES if "Normalization" in name or "shared tensor" in name else None)
    assert not float_ops(interpreter)
    numbers = parity(qat, interpreter, IMAGES)[0]
    assert numbers.most_error_lsb <= limit, numbers


def classifier(*, bias=True):
    keras.utils.set_random_seed(0)
    return chain(
        layers.Conv2D(8, 3, use_bias=bias, name="conv"), layers.BatchNormalization(), layers.ReLU(), layers.Flatten(),
        layers.Dense(4, name="class"),
    )  # fmt: skip


def compiled(model, **options):
    model.compile(
        keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"], **options
    )
    return model


LABELS = RNG.integers(0, 4, 128)


@pytest.mark.parametrize(
    "options", [{"steps_per_execution": 4}, {"jit_compile": True}, {"run_eagerly": True}], ids=lambda options: next(iter(options))
)
@pytest.mark.parametrize("ranges", ["moving_average", "learned"])
def test_trains_however_it_is_compiled(ranges, options):
    qat = compiled(tfopt.quantize_aware(classifier(), ranges=ranges), **options)
    qat.fit(IMAGES, LABELS, batch_size=16, epochs=1, verbose=0)
    assert not tfopt.quantization_report(qat).unseen
    low, high = qat.get_layer("image_quantize").range
    assert low == pytest.approx(0, abs=0.05) and high == pytest.approx(1, abs=0.05)


def test_ranges_follow_the_batches_as_numpy_says():
    layer = FakeQuantize(momentum=0.9)
    low = high = None
    for step in range(5):
        batch = RNG.normal(size=(4, 7)).astype("float32") * (step + 1)
        layer(batch, training=True)
        ends = np.array([batch.min(), batch.max()])
        low, high = ends if low is None else 0.9 * np.array([low, high]) + 0.1 * ends
    np.testing.assert_allclose(layer.range, (low, high), rtol=1e-5)
    layer(batch * 100)  # inference moves nothing
    np.testing.assert_allclose(layer.range, (low, high), rtol=1e-5)


def test_calibrated_ranges_are_those_of_the_data():
    model = classifier()
    qat = tfopt.quantize_aware(model)
    assert "image_quantize" in tfopt.quantization_report(qat).unseen
    np.testing.assert_allclose(qat(IMAGES), model(IMAGES), atol=0.1)
    assert tfopt.calibrate(qat, IMAGES) is qat
    activations = keras.Model(model.input, model.layers[3].output)(IMAGES).numpy()
    np.testing.assert_allclose(qat.layers[5].range, (0, activations.max()), rtol=0.01)  # of rounded weights
    with pytest.raises(tfopt.DataError, match="finite"):
        tfopt.calibrate(qat, np.full((4, 8, 8, 3), np.nan, "float32"))
    with pytest.raises(tfopt.DataError, match="none"):
        tfopt.calibrate(qat, iter(()))


def names(model):
    return [layer.name for layer in model.layers]


def test_an_all_zero_or_broken_batch_moves_no_range():
    layer = FakeQuantize()
    layer(np.zeros((2, 3), "float32"), training=True)
    assert layer.range is None
    layer(np.array([[1.0, -1.0]], "float32"), training=True)
    for bad in (np.nan, np.inf):
        layer(np.array([[bad, 0.0]], "float32"), training=True)
    assert layer.range == (-1.0, 1.0)


def test_nan_in_the_data_is_a_clear_error():
    qat = compiled(tfopt.quantize_aware(classifier()), jit_compile=False)
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


def test_subclassed_model_trains_is_saved_and_stripped(tmp_path):
    model = Subclassed()
    model(IMAGES[:2])
    qat = trained(model, IMAGES, RNG.random((128, 4)), epochs=1, run_eagerly=True)
    report = tfopt.quantization_report(qat)
    assert sum(row.bits == 8 for row in report.weights) == 3
    qat.save(tmp_path / "qat.keras")
    loaded = keras.saving.load_model(tmp_path / "qat.keras")
    np.testing.assert_allclose(loaded(IMAGES[:8]), qat(IMAGES[:8]), atol=1e-6)
    assert not float_ops(to_int8(qat, IMAGES))
    assert isinstance(tfopt.strip_quantization(qat), Subclassed)


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv, self.gate = layers.Conv2D(4, 3, activation="relu"), Gated(4)

    def call(self, x):
        return keras.ops.mean(self.gate(self.conv(x)), (1, 2))


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


def test_saved_model_loads_in_a_fresh_process(tmp_path):
    qat = tfopt.calibrate(tfopt.quantize_aware(classifier()), IMAGES)
    qat.save(tmp_path / "qat.keras")
    code = f"import keras, tfopt; keras.saving.load_model({str(tmp_path / 'qat.keras')!r}); print('loaded')"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "loaded" in finished.stdout, finished.stderr[-2000:]
    assert names(tfopt.load(tmp_path / "qat.keras")) == names(qat)


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
    (weights,) = [each for each in tfopt.inspect(tmp_path / "qat.tflite")["tensors"] if tuple(each["shape"]) == (8, 3, 3, 3)]
    assert weights["zeros"] == (stripped == 0).sum() >= (kernel == 0).sum()


def test_reports_name_each_tensor_once_and_by_its_own_layer():
    qat = tfopt.quantize_aware(classifier())
    found = [row.name for row in tfopt.quantization_report(qat).activations]
    assert len(found) == 3 and found[0] == "image_quantize" and found[-1] == "class_quantize", found
    assert not any("/" in name for name in found), "the neighbours of a layer are no tensors inside it"
    assert [row.name for row in tfopt.sparsity_report(qat).weights] == ["conv/kernel", "class/kernel"]


def test_a_mask_that_comes_in_is_not_rounded():
    x, mask = keras.Input((5, 8), name="x"), keras.Input((5,), dtype="bool", name="mask")
    keys = keras.layers.Reshape((1, 5))(mask)
    model = keras.Model({"x": x, "mask": mask}, keras.layers.MultiHeadAttention(2, 4)(x, x, attention_mask=keys))
    generator = np.random.default_rng(0)
    data = {"x": generator.normal(size=(64, 5, 8)).astype("float32"), "mask": np.arange(5) < generator.integers(1, 6, (64, 1))}
    qat = tfopt.calibrate(tfopt.quantize_aware(model), data)
    assert np.abs(qat(data) - model(data)).max() < 0.05 * np.abs(model(data)).max()
    other = {**data, "x": np.where(data["mask"][..., None], data["x"], 9.0).astype("float32")}  # what is masked is of no account
    rows = data["mask"]
    assert np.abs(qat(other).numpy()[rows] - qat(data).numpy()[rows]).max() < 0.05 * np.abs(model(data)).max()


def test_limits_cut_outliers_off_and_stay(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, activation="gelu", name="inner"), keras.layers.Dense(2)])
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    qat = tfopt.quantize_aware(model, limits={"inner/before_*": (-5, 0.25), "inner_quantize": (-1.0, 0.125)})
    qat.compile("adam", "mse")
    qat.fit(x, np.zeros((64, 2)), verbose=0)
    ranges = {row.name: row.range for row in tfopt.quantization_report(qat).activations}
    assert ranges["inner/before_activation"] == (-5.0, 0.25) and ranges["inner_quantize"] == (-1.0, 0.125)
    inner = keras.Model(qat.inputs, qat.get_layer("inner_quantize").output)
    assert np.abs(inner(x).numpy().max() - 0.125) < 0.01
    qat.save(tmp_path / "qat.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "qat.keras")(x), qat(x))
    with pytest.raises(tfopt.ArgumentError, match="'iner_quantize', which matches none. Closest: inner_quantize"):
        tfopt.quantize_aware(model, limits={"iner_quantize": (-1.0, 1.0)})
    with pytest.raises(tfopt.ArgumentError, match="low <= 0 <= high"):
        tfopt.quantize_aware(model, limits={"inner_quantize": (0.5, 1.0)})


def test_recurrent_layer_inside_another_model():
    inner = keras.Sequential([keras.Input((4, 3)), layers.LSTM(5), layers.Dense(4)], name="inner")
    qat = trained(chain(inner, shape=(4, 3)), IMAGES[:, :4, 0], RNG.random((128, 4)), epochs=1, run_eagerly=True)
    interpreter = to_int8(qat, IMAGES[:, :4, 0])
    assert not float_ops(interpreter)
    assert parity(qat, interpreter, IMAGES[:, :4, 0])[0].sqnr >= 30


def test_pruning_and_quantization_train_together():
    qat = compiled(tfopt.quantize_aware(classifier()))
    qat.fit(IMAGES, LABELS, epochs=4, verbose=0, callbacks=[tfopt.PruningCallback(tfopt.PolynomialDecay(0.5))])
    kernel = qat.get_layer("conv").layer.kernel.numpy()
    assert (kernel == 0).mean() == pytest.approx(0.5, abs=1 / kernel.size)


def test_four_bits_are_levels_of_the_file():
    qat = trained(classifier(), IMAGES, RNG.random((128, 4)), epochs=1, run_eagerly=True, weight_bits=4)
    interpreter = to_int8(qat)
    assert parity(qat, interpreter, IMAGES)[0].most_error_lsb <= 1
    kernel = tfopt.strip_quantization(qat).get_layer("conv").kernel.numpy()
    assert all(len(np.unique(kernel[..., channel])) <= 15 for channel in range(8))
    with pytest.raises(tfopt.ArgumentError, match="lstm.*exclude"):
        tfopt.quantize_aware(chain(layers.LSTM(4, name="lstm"), shape=(4, 3)), weight_bits=4)


def test_include_and_exclude():
    report = tfopt.quantization_report(tfopt.quantize_aware(classifier(), exclude="class"))
    assert {row.name: row.bits for row in report.weights if "kernel" in row.name} == {"conv/kernel": 8, "class/kernel": None}
    with pytest.raises(tfopt.ArgumentError, match="matches no layer"):
        tfopt.quantize_aware(classifier(), include="nothing_*")


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


def test_holds_on_several_devices():
    finished = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("mirrored.py"))], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0 and "held" in finished.stdout, finished.stderr[-3000:]
