"""Small valid files of every kind that tools/fuzz_load.py damages."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

LEGACY = pathlib.Path(__file__).parents[1] / "tests" / "data" / "legacy_h5"
SCALE = """
import keras


class Scale(keras.layers.Layer):
    def __init__(self, factor=2.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs):
        return self.factor * inputs


def double(x):
    return 2 * x


custom_objects = {"<lambda>": double}
"""
"""The custom objects that are damaged."""


def make_seeds(folder: pathlib.Path, kinds: Sequence[str], *, with_legacy: bool = True) -> dict[str, list[pathlib.Path]]:
    """Writes small valid files.

    Args:
        folder: to write to.
        kinds: of the files.
        with_legacy: whether recurrent models, quantized `.tflite` files and real files of old Keras generations are among them.

    Returns:
        Their paths by kind, as in `fuzz_load.KINDS`.
    """
    if {".keras", ".h5", "saved_model", ".tflite"} & set(kinds):
        _make_models(folder, kinds, with_legacy=with_legacy)
    _make_data(folder)
    names = ["mlp", "cnn", "lstm", "nested", "two_in_two_out", "residual", "op_mix", "mixed_float16", "embedding", "lambda_layer"]
    legacy = [path for name in names for path in sorted(LEGACY.glob(f"*/{name}.h5"))] if with_legacy else []
    written = sorted(folder.iterdir())
    found = {kind: [path for path in written if path.suffix == kind] for kind in (".keras", ".h5", ".tflite", ".npy", ".npz")}
    found[".h5"] += legacy
    found["saved_model"] = [path for path in written if path.suffix == ".saved_model"]
    found["image"] = [path for path in written if path.stem == "image"]
    found["custom_objects"] = [folder / "scale.py"]
    return found


def _make_models(folder: pathlib.Path, kinds: Sequence[str], *, with_legacy: bool) -> None:
    import config_trees
    import keras
    import tf_keras

    first, *_ = config_trees.make_models(folder)
    if with_legacy:
        for name, library in (("new", keras), ("old", tf_keras)):
            layers = library.layers
            sequence = library.Sequential([layers.InputLayer((6, 3)), layers.LSTM(4, return_sequences=True), layers.GRU(3)])
            sequence.save(folder / f"{name}_sequence.h5")
    model = keras.models.load_model(first)
    if ".tflite" in kinds:
        for quantization in ("float32", "int8", "dynamic") if with_legacy else ("float32",):
            (folder / f"{quantization}.tflite").write_bytes(_tflite(model, quantization))
    if "saved_model" in kinds:
        model.export(folder / "plain.saved_model", verbose=False)
        _export_with_table(folder)


def _make_data(folder: pathlib.Path) -> None:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    samples = rng.normal(size=(12, 4)).astype("float32")
    np.save(folder / "samples.npy", samples)
    np.save(folder / "fortran.npy", np.asfortranarray(samples))
    np.savez(folder / "samples.npz", x=samples, y=np.arange(12))
    np.savez_compressed(folder / "packed.npz", x=samples, y=np.arange(12))
    pixels = Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
    for suffix in ("png", "jpg", "bmp", "gif", "webp", "ppm"):
        pixels.save(folder / f"image.{suffix}")
    (folder / "scale.py").write_text(SCALE)


def _export_with_table(folder: pathlib.Path) -> None:
    """A SavedModel with a vocabulary among its assets, a branch, and a loop."""
    import tensorflow as tf

    (folder / "words.txt").write_text("a\nb\nc\n")
    index = tf.lookup.TextFileIndex
    initializer = tf.lookup.TextFileInitializer(str(folder / "words.txt"), tf.string, index.WHOLE_LINE, tf.int64, index.LINE_NUMBER)

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = tf.lookup.StaticHashTable(initializer, -1)
            self.weight = tf.Variable(tf.ones((4, 3)))

        @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")])
        def serve(self, x: Any) -> dict[str, Any]:
            x = tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: -x)
            x = tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * 0.5), [0, x])[1]
            return {"y": x @ self.weight + tf.cast(self.table.lookup(tf.constant(["b"])), tf.float32)}

    model = Model()
    tf.saved_model.save(model, str(folder / "table.saved_model"), signatures=model.serve)


def _tflite(model: Any, quantization: Any) -> bytes:
    import numpy as np

    import tfopt

    samples = np.random.default_rng(0).random((8, 8, 8, 2), "float32")
    return tfopt.convert(model, representative_data=samples, quantization=quantization, runs=1, verbose=False).tflite
