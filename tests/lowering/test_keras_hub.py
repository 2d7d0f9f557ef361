"""Nets of KerasHub, which are made of layers made of layers: int8 throughout, pruned, and quantization-aware."""

import pathlib
import sys

import keras
import numpy as np
import pytest
from seeded_models import measure, to_int8

import tfopt
from tfopt.data import signature
from tfopt.tflite import op_audit
from tfopt.tflite.interpreter import Interpreter

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tools"))
nets = pytest.importorskip("keras_hub_nets", reason="keras-hub is missing: pip install .[test]")

KINDS = (
    "Albert", "Bart", "BertTextClassifier", "ESM2", "FNet", "GPT2CausalLM", "Llama", "SegFormerImageSegmenter", "SwinTransformer",
    "T5", "ViTDet", "Whisper", "XLNet",
)  # fmt: skip


def made(name):
    """(net, its inputs of fixed size) with random weights."""
    net = nets.build(name)
    data = nets.draw(net, 1)
    specs = [signature.TensorSpec(spec.name, (1, *data[spec.name].shape[1:]), spec.dtype) for spec in signature.input_specs(net)]
    return net, specs


def test_each_backbone_of_keras_hub_is_a_net_or_left_out_for_a_reason():
    assert not nets.missing()
    assert all(hasattr(nets.models, name) for name in nets.LEFT_OUT)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_int8_throughout(name):
    net, specs = made(name)
    content = to_int8(net, specs=specs, data=nets.draw(net, 40))
    float_ops, decibel = measure(net, content, specs=specs, data=nets.draw(net, 16, seed=1))
    assert not float_ops and min(decibel) >= 20.0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["BertTextClassifier", "ViTImageClassifier", "Llama"])
def test_pruned_trained_saved_and_loaded(name, tmp_path):
    net, _ = made(name)
    x = nets.draw(net, 32)
    y = np.zeros((32, *net.output_shape[1:]), "float32") if None not in net.output_shape[1:] else net.predict(x, verbose=0) * 0.5
    net.compile(keras.optimizers.Adam(1e-4), "mse", metrics=[])
    pruning = tfopt.PruningCallback(tfopt.ConstantSparsity(0.8))
    net.fit(x, y, epochs=1, batch_size=8, verbose=0, callbacks=[pruning])
    report = tfopt.sparsity_report(net)
    qat = tfopt.quantize_aware(net)
    qat.compile(keras.optimizers.Adam(1e-5), "mse")
    qat.fit(x, y, epochs=1, batch_size=8, verbose=0, callbacks=[tfopt.PreserveSparsity()])
    assert tfopt.sparsity_report(qat).sparsity == pytest.approx(report.sparsity, abs=1e-3)
    qat.save(tmp_path / "qat.keras")
    loaded = keras.saving.load_model(tmp_path / "qat.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), qat.predict(x, verbose=0), atol=1e-5)


def test_one_is_int8_throughout():
    """The quick one; the others are slow."""
    net, specs = made("BertTextClassifier")
    content = to_int8(net, specs=specs, data=nets.draw(net, 20))
    assert not op_audit.examine(Interpreter(content), (), "int8").float_ops
