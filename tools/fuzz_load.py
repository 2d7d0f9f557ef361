"""Damaged and hostile model files, thousands of them, seeded: each must load or be refused by one of tfopt's errors.

    python tools/fuzz_load.py --count 2000 --seed 0

Files are mutated in their bytes and in their structure, and read in child processes. Fails (exit 1) where a process dies, an
exception is none of tfopt's, a file takes too long, or code from a file ran. The files that failed are kept in --keep.
"""

import argparse
import collections
import io
import json
import os
import pathlib
import random
import shutil
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).parents[1]
LEGACY = ROOT / "tests" / "data" / "legacy_h5"
FILES_A_CHILD = 120  # then a fresh one, as TensorFlow keeps what was built
MEMORY = 4 << 30


def attempt(request, progress):
    """Reads one file, in the child. Returns "loaded" or the name of the error that refused it."""
    import resource

    if resource.getrlimit(resource.RLIMIT_DATA)[0] != MEMORY:
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    import tfopt

    os.environ.pop("TFOPT_IN_CHILD", None)  # the public way, which must survive without a parent
    path = request["path"]
    try:
        if path.endswith(".tflite"):
            progress({"stage": "interpreter"})
            tfopt.Interpreter(path)
            progress({"stage": "inspect"})
            tfopt.inspect(path)
        else:
            progress({"stage": "load"})
            (tfopt.inspect if request["inspect"] else tfopt.load)(path)
    except tfopt.TfoptError as error:
        return type(error).__name__
    return "loaded"


def make_seeds(folder, *, with_legacy=True):
    """Small valid files of every kind.

    Returns:
        list of paths.
    """
    import keras
    import tf_keras

    import tfopt

    for name, library in (("new", keras), ("old", tf_keras)):
        layers = library.layers
        source = library.Input((8, 8, 2), name="image")
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(source)))
        x = layers.Add()([x, layers.DepthwiseConv2D(3, padding="same")(x)])
        x = layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x))
        model = library.Model(source, x)
        model.save(folder / f"{name}.h5")
        model.save(folder / f"{name}.keras")
        if not with_legacy:
            continue
        sequence = library.Sequential([layers.InputLayer((6, 3)), layers.LSTM(4, return_sequences=True), layers.GRU(3)])
        sequence.save(folder / f"{name}_sequence.h5")
    model = keras.models.load_model(folder / "new.keras")
    for quantization in ("float32", "int8", "dynamic") if with_legacy else ("float32",):
        data = "synthetic" if quantization == "int8" else None
        io_dtype = "int8" if quantization == "int8" else "float32"
        result = tfopt.convert(model, quantization=quantization, io=io_dtype, representative_data=data, samples=4, runs=1)
        (folder / f"{quantization}.tflite").write_bytes(result.tflite)
    kinds = ["mlp", "cnn", "lstm", "nested", "two_in_two_out", "residual", "op_mix", "mixed_float16", "embedding", "lambda_layer"]
    legacy = [path for kind in kinds for path in sorted(LEGACY.glob(f"*/{kind}.h5"))] if with_legacy else []
    return [*sorted(path for path in folder.iterdir() if path.is_file()), *legacy]


def mutate(content, suffix, rng, flag):
    """Mutated bytes of a file, and what was done to it."""
    if suffix != ".tflite" and rng.random() < 0.6:
        content, what = _mutate_structure(content, suffix, rng, flag)
    else:
        content, what = _mutate_bytes(content, rng)
    if rng.random() < 0.1:
        content, more = _mutate_bytes(content, rng)
        what += f", {more}"
    return content, what


def _mutate_bytes(content, rng):
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


def _mutate_structure(content, suffix, rng, flag):
    if suffix == ".keras":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        member = rng.choice(["config.json"] * 5 + ["metadata.json"])
        tree, what = _mutate_tree(json.loads(members[member]), rng, flag)
        members[member] = json.dumps(tree).encode()
        if rng.random() < 0.1:
            del members[rng.choice(sorted(members))]
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return out.getvalue(), what
    import h5py

    # A file without a name: HDF5 needs one all the same.
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.h5"
        path.write_bytes(content)
        with h5py.File(path, "r+") as file:
            what = _mutate_h5(file, rng, flag)
        return path.read_bytes(), what


def _mutate_h5(file, rng, flag):
    weights = file.get("model_weights", file)
    chosen = rng.random()
    if chosen < 0.75 and "model_config" in file.attrs:
        text = file.attrs["model_config"]
        tree, what = _mutate_tree(json.loads(text), rng, flag)
        file.attrs["model_config"] = json.dumps(tree)
        return what
    groups = [name for name in weights if weights[name].attrs.get("weight_names") is not None]
    name = rng.choice(groups)
    if chosen < 0.8:
        key, value = rng.choice(["keras_version", "backend"]), rng.choice(["1.2.2", "2.1.0", "3.0.0", "", "theano", "9", 7, "\x01"])
        file.attrs[key] = value
        return f"{key} {value!r}"
    if chosen < 0.87:
        del weights[name]
        return f"no group {name}"
    if chosen < 0.94:
        target = rng.choice([weights, weights[name]])
        key = "layer_names" if target is weights else "weight_names"
        names = [name.decode() if isinstance(name, bytes) else name for name in target.attrs.get(key, [])]
        rng.shuffle(names)
        names = names[: rng.randrange(len(names) + 1)] + rng.choice([[], names[:1], ["nowhere"]])
        target.attrs[key] = [name.encode() for name in names]
        return f"{key} of {target.name}"
    import numpy as np

    group = weights[name]
    for key in list(group.attrs["weight_names"])[:1]:
        array = group[key][()]
        del group[key]
        group[key] = rng.choice([array.T, array[:0], array.astype("int64"), np.full_like(array, np.nan), np.array([b"text"])])
        return f"array {key} of {name}"
    return "nothing"


_VALUES = [
    None,
    True,
    -1,
    0,
    1,
    3,
    10**12,
    -(10**12),
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x" * 300,
    "relu",
    [],
    {},
    [1],
    [[]],
    "None",
]


def _mutate_tree(tree, rng, flag):
    places = list(_places(tree))
    parent, key = rng.choice(places)
    kind = rng.choice(["delete", "value", "value", "value", "number", "rename", "gadget", "gadget", "swap", "copy"])
    if kind == "number":
        numbers = [(p, k) for p, k in places if isinstance(p[k], int | float)]
        parent, key = rng.choice(numbers or places)
        parent[key] = rng.choice([0, -1, 2, 7, 10**5, 10**9, 10**18, 0.5, float("nan")])
    elif kind == "delete":
        del parent[key]
    elif kind == "value":
        parent[key] = rng.choice(_VALUES)
    elif kind == "rename":
        named = [(p, k) for p, k in places if k in ("class_name", "name", "registered_name", "module", "function")]
        parent, key = rng.choice(named or places)
        parent[key] = rng.choice(
            ["Lambda", "Dense", "Sequential", "Model", "TFOpLambda", "LSTM", "Merge", "Nope", "", "os", 3, None]
        )
    elif kind == "gadget":
        layers = [(p, k) for p, k in places if isinstance(p[k], dict) and "class_name" in p[k]]
        parent, key = rng.choice(layers or places)
        parent[key] = rng.choice(_gadgets(flag))
    elif kind == "swap":
        other, where = rng.choice(places)
        value = json.loads(json.dumps(other[where]))
        parent[key] = value
    elif isinstance(parent, list):
        parent.insert(0, json.loads(json.dumps(parent[key])))
    else:
        parent[f"{key}_2"] = json.loads(json.dumps(parent[key]))
    return tree, f"{kind} {key!r}"


def _gadgets(flag):
    import base64
    import marshal

    code = compile(f"lambda x: (__import__('pathlib').Path({flag!r}).touch(), x)[1]", "f", "eval").co_consts[0]
    text = base64.b64encode(marshal.dumps(code)).decode()
    function = {"class_name": "__lambda__", "config": {"code": text, "defaults": None, "closure": None}}
    touch = f"__import__('pathlib').Path({flag!r}).touch()"
    return [
        {"class_name": "Lambda", "config": {"name": "l", "function": [text, None, None], "function_type": "lambda"}},
        {"class_name": "Lambda", "config": {"name": "l", "function": function, "function_type": "lambda"}},
        {"class_name": "Dense", "config": {"name": "d", "units": 3, "activation": function}},
        {"class_name": "Dense", "config": {"name": "d", "units": 3, "activation": {"value": [text, None, None]}}},
        {"class_name": "TFOpLambda", "config": {"name": "t", "function": "io.write_file"}},
        {"class_name": "TensorFlowOpLayer", "config": {"name": "t", "node_def": {"op": "WriteFile", "name": "w"}, "constants": {}}},
        {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "function"},
        {"module": "os", "class_name": "system", "config": {"command": f"touch {flag}"}, "registered_name": "system"},
        {"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", flag]}, "registered_name": "Popen"},
        {"module": "builtins", "class_name": "eval", "config": {"source": touch}, "registered_name": "eval"},
    ]


def _places(node):
    if isinstance(node, dict | list):
        for key in node if isinstance(node, dict) else range(len(node)):
            yield node, key
            yield from _places(node[key])


def fuzz(count, seed, *, timeout=60.0, keep=None, with_legacy=True, only=("",)):
    """Reads `count` mutated files.

    Returns:
        (Counter of outcomes, list of str that describe failures)
    """
    sys.path.insert(0, str(ROOT))
    from tfopt import errors, isolation

    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(pathlib.Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    rng = random.Random(seed)
    outcomes, failures, child, used = collections.Counter(), [], None, 0
    with tempfile.TemporaryDirectory(prefix="tfopt-fuzz-") as folder:
        folder = pathlib.Path(folder)
        (folder / "seeds").mkdir()
        seeds = [path for path in make_seeds(folder / "seeds", with_legacy=with_legacy) if path.suffix in only or "" in only]
        by_suffix = {suffix: [path for path in seeds if path.suffix == suffix] for suffix in {path.suffix for path in seeds}}
        flag = folder / "code-ran"
        try:
            for number in range(count):
                source = rng.choice(by_suffix[rng.choice(sorted(by_suffix))])
                content, what = mutate(source.read_bytes(), source.suffix, rng, str(flag))
                path = folder / f"{number:05d}{source.suffix}"
                path.write_bytes(content)
                if child is None or used >= FILES_A_CHILD:
                    if child:
                        child.__exit__()
                    child, used = isolation.Child(preload="tfopt.loading.load"), 0
                used += 1
                failure = None
                request = {"path": str(path), "inspect": number % 5 == 0}
                try:
                    outcome = child.call("fuzz_load:attempt", request, timeout=timeout + (120 if used == 1 else 0))
                except errors.ConversionError as error:  # it died, or it hangs
                    outcome = "hung" if "no end" in str(error) else "died"
                    failure, used = str(error)[:300], FILES_A_CHILD
                except RuntimeError as error:
                    outcome, failure = "unforeseen exception", str(error)[-1500:]
                if flag.exists():
                    flag.unlink()
                    outcome, failure = "code ran", "the file's code ran"
                outcomes[f"{source.suffix} {outcome}"] += 1
                if failure:
                    failures.append(f"#{number} {source.parent.name}/{source.name}: {what}: {outcome}: {failure}")
                    if keep:
                        pathlib.Path(keep).mkdir(exist_ok=True, parents=True)
                        shutil.copy(path, keep)
                path.unlink()
        finally:
            if child:
                child.__exit__()
    return outcomes, failures


def main():
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
