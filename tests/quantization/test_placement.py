"""Which tensors are rounded: nets with odd graphs keep parity with their file, and limits, `include` and `exclude` are obeyed."""

import keras
import numpy as np
import pytest
from quantized_layers import float_ops, parity, to_int8, trained
from small_nets import IMAGES, chain, classifier

import tfopt

layers = keras.layers


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
    targets = np.random.default_rng(1).random((128, *model.output.shape[1:])).astype("float32")
    qat = trained(model, IMAGES, targets, epochs=2, run_eagerly=True)
    interpreter = to_int8(qat, IMAGES if "Normalization" in name or "shared tensor" in name else None)
    assert not float_ops(interpreter)
    numbers = parity(qat, interpreter, IMAGES)[0]
    assert numbers.most_error_lsb <= limit, numbers


def test_reports_name_each_tensor_once_and_by_its_own_layer():
    qat = tfopt.quantize_aware(classifier())
    found = [row.name for row in tfopt.quantization_report(qat).activations]
    assert len(found) == 3 and found[0] == "image_quantize" and found[-1] == "class_quantize", found
    assert not any("/" in name for name in found), "the neighbors of a layer are no tensors inside it"
    assert [row.name for row in tfopt.sparsity_report(qat).weights] == ["conv/kernel", "class/kernel"]


def test_limits_cut_outliers_off_and_stay(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, activation="gelu", name="inner"), layers.Dense(2)])
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    qat = tfopt.quantize_aware(model, limits={"inner/before_*": (-5, 0.25), "inner_quantize": (-1.0, 0.125)})
    qat.compile("adam", "mse", run_eagerly=True)
    qat.fit(x, np.zeros((64, 2)), verbose=0)
    ranges = {row.name: row.range for row in tfopt.quantization_report(qat).activations}
    assert ranges["inner/before_activation"] == (-5.0, 0.25) and ranges["inner_quantize"] == (-1.0, 0.125)
    inner = keras.Model(qat.inputs, qat.get_layer("inner_quantize").output)
    assert np.abs(inner(x).numpy().max() - 0.125) < 0.01
    qat.save(tmp_path / "qat.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "qat.keras")(x), qat(x))
    with pytest.raises(tfopt.ArgumentError, match="'iner_quantize', which matches no tensor. Closest: inner_quantize"):
        tfopt.quantize_aware(model, limits={"iner_quantize": (-1.0, 1.0)})
    with pytest.raises(tfopt.ArgumentError, match="low <= 0 <= high"):
        tfopt.quantize_aware(model, limits={"inner_quantize": (0.5, 1.0)})


def test_include_and_exclude():
    report = tfopt.quantization_report(tfopt.quantize_aware(classifier(), exclude="class"))
    assert {row.name: row.bits for row in report.weights if "kernel" in row.name} == {"conv/kernel": 8, "class/kernel": None}
    with pytest.raises(tfopt.ArgumentError, match="matches no layer"):
        tfopt.quantize_aware(classifier(), include="nothing_*")


@keras.saving.register_keras_serializable("test_placement")
class Tied(keras.Model):
    """Calls a layer of the model inside once more, as a language model does with its embedding."""

    def __init__(self, body, **kwargs):
        super().__init__(body.input, body.get_layer("shared")(body(body.input)), **kwargs)
        self.body = body

    def get_config(self):
        return {"name": self.name, "body": keras.saving.serialize_keras_object(self.body)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "body": keras.saving.deserialize_keras_object(config["body"])})


def test_a_layer_of_a_model_inside_that_the_model_around_it_calls_too():
    keras.utils.set_random_seed(0)
    source = keras.Input((8,))
    hidden = keras.layers.Dense(8, name="shared")(source)
    model = Tied(keras.Model(source, keras.layers.Dense(8, activation="relu")(hidden)))
    x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    qat = tfopt.calibrate(tfopt.quantize_aware(model, verbose=False), x, verbose=False)
    kernels = [weight for weight in qat.trainable_weights if weight.path.endswith("kernel")]
    assert len(kernels) == 2, "the layer has its weights once"
    interpreter = to_int8(qat)
    assert not float_ops(interpreter)
    assert parity(qat, interpreter, x)[0].most_error_lsb <= 1
