"""Damaged and hostile model files, thousands of them, seeded: each must load or be refused by one of tfopt's errors.

    python tools/fuzz_load.py --count 2000 --seed 0

Files are damaged in their bytes and in their structure, and read in child processes. The tool fails (exit 1) if a process dies, an
exception is not one of tfopt's, a file takes too long, or code from a file ran. Files that failed are kept in --keep. It needs the
package `hypothesis`.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
LEGACY = ROOT / "tests" / "data" / "legacy_h5"
FILES_A_CHILD = 120  # then a fresh child, as TensorFlow keeps everything that was built


def make_seeds(folder: pathlib.Path, *, with_legacy: bool = True) -> list[pathlib.Path]:
    """Writes small valid files of every kind.

    Args:
        folder: to write to.
        with_legacy: whether recurrent models, quantized `.tflite` files and real files of old Keras generations are among them.

    Returns:
        Their paths.
    """
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
    for quantization in ("float32", "int8", "dynamic") if with_legacy else ("float32",):
        (folder / f"{quantization}.tflite").write_bytes(_tflite(model, quantization))
    kinds = ["mlp", "cnn", "lstm", "nested", "two_in_two_out", "residual", "op_mix", "mixed_float16", "embedding", "lambda_layer"]
    legacy = [path for kind in kinds for path in sorted(LEGACY.glob(f"*/{kind}.h5"))] if with_legacy else []
    return [*sorted(path for path in folder.iterdir() if path.is_file()), *legacy]


def _tflite(model: Any, quantization: str) -> bytes:
    import tensorflow as tf

    function = tf.function(lambda image: model(image)).get_concrete_function(tf.TensorSpec((1, 8, 8, 2), "float32"))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    if quantization != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "int8":
        converter.representative_dataset = lambda: ([tf.random.stateless_uniform((1, 8, 8, 2), (0, i))] for i in range(4))
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def damage(content: bytes, suffix: str, flag: str, data: Any) -> tuple[bytes, str]:
    """Damages a file.

    Args:
        content: of the file.
        suffix: ".keras", ".h5" or ".tflite".
        flag: path of a file that hostile files would write.
        data: hypothesis's `data()`, which chooses the damage.

    Returns:
        (bytes, what was done)
    """
    from config_trees import mutated_configs, read_config, with_config
    from hypothesis import strategies as st

    rng = random.Random(data.draw(st.integers(0, 2**32 - 1)))
    config = None if suffix == ".tflite" else read_config(content, suffix)
    where = data.draw(st.sampled_from(["bytes", "bytes", "structure"] + ["configuration"] * 4))
    if where == "configuration" and config is not None:
        mutated = data.draw(mutated_configs(config, flag))
        content, what = with_config(content, suffix, mutated.text), mutated.what
    elif where == "structure" and suffix != ".tflite":
        content, what = (_damage_archive if suffix == ".keras" else _damage_h5)(content, rng)
    else:
        content, what = _damage_bytes(content, rng)
    if rng.random() < 0.1:
        content, more = _damage_bytes(content, rng)
        what += f", {more}"
    return content, what


def _damage_bytes(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    data = bytearray(content)
    kind = rng.choice(["flip", "truncate", "duplicate", "splice", "zero", "ones", "int"])
    at, size = rng.randrange(len(data)), rng.choice([1, 4, 16, 256, 4096])
    if kind == "flip":
        for _ in range(rng.choice([1, 3, 20, 200])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "truncate":
        del data[at:]
    elif kind == "duplicate":
        data[at:at] = data[at : at + size]
    elif kind == "splice":
        source = rng.randrange(len(data))
        data[at : at + size] = data[source : source + size]
    elif kind == "int":
        value = rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, rng.randrange(1 << 32)])
        data[at : at + 4] = value.to_bytes(4, "little")
    else:
        data[at : at + size] = bytes([0 if kind == "zero" else 255]) * len(data[at : at + size])
    return bytes(data), f"{kind} at {at}"


def _damage_archive(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Damages the metadata of a `.keras` file, or leaves a member out."""
    from config_trees import with_members

    metadata = rng.choice(
        [b"{}", b"[]", b'{"keras_version": 3}', b'{"keras_version": "1.2.2"}', b'{"keras_version": "9"}', b"\xff"]
    )
    name, member = rng.choice(
        [("metadata.json", metadata), ("metadata.json", None), ("config.json", None), ("model.weights.h5", None)]
    )
    return with_members(content, {name: member}), f"{name}: {member!r}"


def _damage_h5(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Damages the version, the names or an array of an `.h5` file."""
    import h5py

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.h5"
        path.write_bytes(content)
        with h5py.File(path, "r+") as file:
            what = _damage_weights(file, rng)
        return path.read_bytes(), what


def _damage_weights(file: Any, rng: random.Random) -> str:
    import numpy as np

    weights = file.get("model_weights", file)
    name = rng.choice([name for name in weights if weights[name].attrs.get("weight_names") is not None])
    kind = rng.choice(["version", "group", "names", "array"])
    if kind == "version":
        key, value = rng.choice(["keras_version", "backend"]), rng.choice(["1.2.2", "2.1.0", "3.0.0", "", "theano", "9", 7, "\x01"])
        file.attrs[key] = value
        return f"{key} {value!r}"
    if kind == "group":
        del weights[name]
        return f"no group {name}"
    if kind == "names":
        target = rng.choice([weights, weights[name]])
        key = "layer_names" if target is weights else "weight_names"
        names = [name.decode() if isinstance(name, bytes) else name for name in target.attrs.get(key, [])]
        rng.shuffle(names)
        names = names[: rng.randrange(len(names) + 1)] + rng.choice([[], names[:1], ["nowhere"]])
        target.attrs[key] = [name.encode() for name in names]
        return f"{key} of {target.name}"
    group = weights[name]
    for key in list(group.attrs["weight_names"])[:1]:
        array = group[key][()]
        del group[key]
        group[key] = rng.choice([array.T, array[:0], array.astype("int64"), np.full_like(array, np.nan), np.array([b"text"])])
        return f"array {key} of {name}"
    return "nothing"


class Reader:
    """Reads files in child processes, a new one after `FILES_A_CHILD` files or a failure. A context manager.

    Args:
        flag: file that hostile files would write.
        timeout: seconds that a file may take.
    """

    def __init__(self, flag: pathlib.Path, timeout: float) -> None:
        self._flag, self._timeout = flag, timeout
        self._child: Any = None
        self._used = 0

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child:
            self._child.__exit__()
        self._child, self._used = None, 0

    def read(self, path: pathlib.Path, *, inspect: bool) -> tuple[str, str]:
        """Reads one file.

        Returns:
            (outcome, description of the failure or "")
        """
        from config_trees import Attempt

        from tfopt import errors, isolation

        if self._child is None or self._used >= FILES_A_CHILD:
            self.__exit__()
            self._child = isolation.Child(preload="tfopt.loading.load")
        self._used += 1
        outcome = failure = ""
        try:
            timeout = self._timeout + (120 if self._used == 1 else 0)
            outcome = self._child.call("tests.child_functions:read_model_file", Attempt(str(path), inspect), timeout=timeout)
        except errors.ConversionError as error:
            outcome, failure = "hung" if "no end" in str(error) else "died", str(error)[:300]
            self.__exit__()
        except RuntimeError as error:
            outcome, failure = "unforeseen exception", str(error)[-1500:]
        if self._flag.exists():
            self._flag.unlink()
            outcome, failure = "code ran", "the file's code ran"
        return outcome, failure


def fuzz(
    count: int, seed: int, *, timeout: float = 60.0, keep: str | None = None, with_legacy: bool = True, only: Sequence[str] = ("",)
) -> tuple[collections.Counter[str], list[str]]:
    """Reads damaged files.

    Args:
        count: how many.
        seed: of the damages.
        timeout: seconds that a file may take.
        keep: None or a folder for files that failed.
        with_legacy: as for `make_seeds`.
        only: suffixes of the files; "" for all.

    Returns:
        (how often each outcome came, descriptions of failures)
    """
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "loading")]
    import hypothesis
    from hypothesis import strategies as st

    outcomes: collections.Counter[str] = collections.Counter()
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="tfopt-fuzz-") as name:
        folder = pathlib.Path(name)
        (folder / "seeds").mkdir()
        seeds = [path for path in make_seeds(folder / "seeds", with_legacy=with_legacy) if path.suffix in only or "" in only]
        by_suffix = {suffix: [path for path in seeds if path.suffix == suffix] for suffix in {path.suffix for path in seeds}}
        flag = folder / "code-ran"

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=count, database=None, deadline=None, phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )  # fmt: skip
        @hypothesis.given(st.data())
        def read_one(data: Any) -> None:
            number = sum(outcomes.values())
            source = data.draw(st.sampled_from(by_suffix[data.draw(st.sampled_from(sorted(by_suffix)))]))
            content, what = damage(source.read_bytes(), source.suffix, str(flag), data)
            path = folder / f"{number:05d}{source.suffix}"
            path.write_bytes(content)
            outcome, failure = reader.read(path, inspect=number % 5 == 0)
            outcomes[f"{source.suffix} {outcome}"] += 1
            if failure:
                failures.append(f"#{number} {source.parent.name}/{source.name}: {what}: {outcome}: {failure}")
                if keep:
                    pathlib.Path(keep).mkdir(exist_ok=True, parents=True)
                    shutil.copy(path, keep)
            path.unlink()

        with Reader(flag, timeout) as reader:
            read_one()
    return outcomes, failures


def main() -> None:
    """Runs the tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds a file")
    parser.add_argument("--keep", help="folder for files that failed")
    parser.add_argument("--only", nargs="*", default=[""], help="kinds of files: .h5 .keras .tflite")
    options = parser.parse_args()
    outcomes, failures = fuzz(options.count, options.seed, timeout=options.timeout, keep=options.keep, only=options.only)
    for outcome, number in sorted(outcomes.items()):
        print(f"{number:6d}  {outcome}")
    for failure in failures:
        print(failure)
    print(f"{sum(outcomes.values())} files, {len(failures)} failures")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
