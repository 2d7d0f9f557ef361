"""Transformers as people write and load them: int8 without training, and pruned while they train quantization-aware."""

import pathlib
import sys

import keras
import numpy as np
import pytest
from keras import layers, ops

import tfopt

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tools"))
nets = pytest.importorskip("keras_hub_nets", reason="keras-hub is missing: pip install .[test]")


# As https://keras.io/examples/nlp/text_classification_with_transformer has both layers.
@keras.saving.register_keras_serializable("tests.transformers")
class TransformerBlock(layers.Layer):
    """Attention and a perceptron, each with dropout, a residual connection and normalization."""

    def __init__(self, embed_dim, num_heads, ff_dim, rate=0.1, **options):
        super().__init__(**options)
        self.arguments = {"embed_dim": embed_dim, "num_heads": num_heads, "ff_dim": ff_dim, "rate": rate}
        self.att = layers.MultiHeadAttention(num_heads=num_heads, key_dim=embed_dim)
        self.ffn = keras.Sequential([layers.Dense(ff_dim, activation="relu"), layers.Dense(embed_dim)])
        self.layernorm1 = layers.LayerNormalization(epsilon=1e-6)
        self.layernorm2 = layers.LayerNormalization(epsilon=1e-6)
        self.dropout1 = layers.Dropout(rate)
        self.dropout2 = layers.Dropout(rate)

    def call(self, inputs):
        out1 = self.layernorm1(inputs + self.dropout1(self.att(inputs, inputs)))
        return self.layernorm2(out1 + self.dropout2(self.ffn(out1)))

    def get_config(self):
        return {**super().get_config(), **self.arguments}


@keras.saving.register_keras_serializable("tests.transformers")
class TokenAndPositionEmbedding(layers.Layer):
    """The sum of two lookups."""

    def __init__(self, maxlen, vocab_size, embed_dim, **options):
        super().__init__(**options)
        self.arguments = {"maxlen": maxlen, "vocab_size": vocab_size, "embed_dim": embed_dim}
        self.token_emb = layers.Embedding(input_dim=vocab_size, output_dim=embed_dim)
        self.pos_emb = layers.Embedding(input_dim=maxlen, output_dim=embed_dim)

    def call(self, x):
        return self.token_emb(x) + self.pos_emb(ops.arange(0, x.shape[-1], 1))

    def get_config(self):
        return {**super().get_config(), **self.arguments}


def text_classifier():
    inputs = keras.Input((12,), dtype="int32", name="ids")
    x = TransformerBlock(16, 2, 32)(TokenAndPositionEmbedding(12, 50, 16)(inputs))
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling1D()(x))
    x = layers.Dropout(0.1)(layers.Dense(20, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(x))


def vit_classifier():
    """Without a class token: until a net was trained for long, its row is too small for the scale of the patches beside it."""
    backbone = nets.models.ViTBackbone(
        image_shape=(32, 32, 3), patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, use_class_token=False
    )
    return nets.models.ViTImageClassifier(backbone, num_classes=3, pooling="gap")


def draw(net, count, seed=0):
    """(inputs, classes that follow from them)."""
    if isinstance(net.input, dict) or len(net.inputs) > 1 or "float" in net.inputs[0].dtype:
        x = nets.draw(net, count, seed)
        first = x["token_ids"] if "token_ids" in x else next(iter(x.values()))
    else:
        x = first = np.random.default_rng(seed).integers(0, 50, (count, 12)).astype("int32")
    if first.dtype.kind == "f":
        return x, first.mean((1, 2)).argmax(1)
    return x, (first[:, :2].sum(1) % 3).astype(int)


NETS = {"TransformerBlock": text_classifier, "BERT": nets.NETS["BertTextClassifier"], "ViT": vit_classifier}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_int8_with_and_without_training(name, tmp_path):
    keras.utils.set_random_seed(0)
    net = NETS[name]()
    (x, y), (other, _) = draw(net, 400), draw(net, 100, seed=1)
    from_logits = name != "TransformerBlock"

    def train(model, rate, epochs, *callbacks):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
        model.compile(keras.optimizers.Adam(rate), loss)
        model.fit(x, y, epochs=epochs, batch_size=32, verbose=0, callbacks=list(callbacks))

    train(net, 2e-3, 6)
    result = tfopt.convert(net, representative_data=x, validation_data=other, min_sqnr=25, runs=1)
    print(name, "PTQ", result.check.outputs[0])
    assert result.check.passed, result.check.reasons

    train(net, 1e-3, 4, tfopt.PruningCallback(tfopt.PolynomialDecay(0.8)))
    pruned = tfopt.sparsity_report(net)
    qat = tfopt.quantize_aware(net, verbose=False)
    train(qat, 1e-4, 3, tfopt.PreserveSparsity())
    result = tfopt.convert(qat, representative_data=x, validation_data=other, float_model=net, runs=1)
    print(name, "QAT", result.check.outputs[0], result.check.reasons)
    assert result.check.passed, result.check.reasons
    result.save(tmp_path / "qat.tflite")
    kept = [row for row in pruned.weights if row.sparsity > 0.5]
    print(sum(row.parameters for row in kept), [row.sparsity for row in kept])
    assert all(row.sparsity == pytest.approx(0.8, abs=0.02) for row in kept)
    zeros = sum(each.zeros or 0 for each in tfopt.inspect(tmp_path / "qat.tflite").tensors if each.role == "weight")
    assert zeros >= sum(row.zeros for row in kept)
