"""Tensors inside layers: those of recurrent, subclassed and attention layers are rounded as in the file."""

import keras
import numpy as np
from quantized_layers import Gated, float_ops, parity, to_int8, trained
from small_nets import IMAGES, chain

import tfopt
from tfopt.quantization.inside.simulation import Simulation, rounds_inside

layers = keras.layers


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv, self.gate = layers.Conv2D(4, 3, activation="relu"), Gated(4)

    def call(self, x):
        return keras.ops.mean(self.gate(self.conv(x)), (1, 2))


def targets():
    return np.random.default_rng(1).random((128, 4))


def test_subclassed_model_trains_is_saved_and_stripped(tmp_path):
    model = Subclassed()
    model(IMAGES[:2])
    qat = trained(model, IMAGES, targets(), epochs=1, run_eagerly=True)
    report = tfopt.quantization_report(qat)
    assert sum(row.bits == 8 for row in report.weights) == 3
    qat.save(tmp_path / "qat.keras")
    loaded = keras.saving.load_model(tmp_path / "qat.keras")
    np.testing.assert_allclose(loaded(IMAGES[:8]), qat(IMAGES[:8]), atol=1e-6)
    assert not float_ops(to_int8(qat, IMAGES))
    assert isinstance(tfopt.strip_quantization(qat), Subclassed)


def test_recurrent_layer_inside_another_model():
    inner = keras.Sequential([keras.Input((4, 3)), layers.LSTM(5), layers.Dense(4)], name="inner")
    qat = trained(chain(inner, shape=(4, 3)), IMAGES[:, :4, 0], targets(), epochs=1, run_eagerly=True)
    interpreter = to_int8(qat, IMAGES[:, :4, 0])
    assert not float_ops(interpreter)
    assert parity(qat, interpreter, IMAGES[:, :4, 0])[0].sqnr >= 30


def test_a_mask_that_comes_in_is_not_rounded():
    x, mask = keras.Input((5, 8), name="x"), keras.Input((5,), dtype="bool", name="mask")
    keys = layers.Reshape((1, 5))(mask)
    model = keras.Model({"x": x, "mask": mask}, layers.MultiHeadAttention(2, 4)(x, x, attention_mask=keys))
    generator = np.random.default_rng(0)
    data = {"x": generator.normal(size=(64, 5, 8)).astype("float32"), "mask": np.arange(5) < generator.integers(1, 6, (64, 1))}
    qat = tfopt.calibrate(tfopt.quantize_aware(model), data)
    assert np.abs(qat(data) - model(data)).max() < 0.05 * np.abs(model(data)).max()
    other = {**data, "x": np.where(data["mask"][..., None], data["x"], 9.0).astype("float32")}  # masked values do not count
    rows = data["mask"]
    assert np.abs(qat(other).numpy()[rows] - qat(data).numpy()[rows]).max() < 0.05 * np.abs(model(data)).max()


def test_knows_the_tensors_that_were_rounded():
    simulation = Simulation(lambda key, tensor, fixed=None, observe=True: tensor)
    first, second = np.zeros(2, "float32"), np.zeros(2, "float32")
    simulation.mark_rounded([first])
    assert simulation.is_rounded([first]) and not simulation.is_rounded([first, second])
    assert simulation.is_rounded([first, np.zeros(2, "int32")]), "integers are not rounded"


def test_which_layers_round_inside():
    inside = [layers.Activation("silu"), layers.Average(), layers.SeparableConv2D(4, 3), layers.Dense(3, activation="tanh")]
    outside = [layers.Activation("relu"), layers.Add(), layers.Conv2D(4, 3), layers.Dense(3, activation="relu"), layers.LSTM(4)]
    assert all(map(rounds_inside, inside)) and not any(map(rounds_inside, outside))


def test_keys_of_tensors_inside_name_their_layer():
    keys = []

    def note(key, tensor, fixed=None, observe=True):
        keys.append((key, fixed))
        return tensor

    functions = Simulation(note).functions_of(layers.Dense(3, activation="silu"), "Dense_0")
    functions["activation"](np.ones((2, 3), "float32"))
    assert keys == [("Dense_0/before_activation", None), ("Dense_0/sigmoid", (0.0, 255 / 256))]
