"""Damages to files, by kind: their bytes, their structure, and what they name. `fuzz_load.py` feeds the results to tfopt."""

from __future__ import annotations

import io
import pathlib
import random
import shutil
import tempfile
import zipfile
from typing import Any


def damage(source: pathlib.Path, target: pathlib.Path, kind: str, flag: str, data: Any) -> str:
    """Writes a damaged copy of a file or folder.

    Args:
        source: a valid file or folder.
        target: the path to write.
        kind: of the file, as in `fuzz_load.KINDS`.
        flag: path of a file that hostile files would write.
        data: hypothesis's `data()`, which chooses the damage.

    Returns:
        What was done.
    """
    from hypothesis import strategies as st

    rng = random.Random(data.draw(st.integers(0, 2**32 - 1)))
    if kind in (".keras", ".h5"):
        content, what = _damage_model(source.read_bytes(), kind, flag, data, rng)
    elif kind == "saved_model":
        return _damage_saved_model(source, target, flag, rng)
    elif kind == "image":
        target.mkdir()
        content, what = damage_bytes(source.read_bytes(), rng)
        (target / source.name).write_bytes(content)
        return what
    else:
        more = {".npy": _damage_npy, ".npz": _damage_npz, "custom_objects": _damage_python}.get(kind, damage_bytes)
        content, what = rng.choice([damage_bytes, more])(source.read_bytes(), rng)
    if rng.random() < 0.1:
        content, again = damage_bytes(content, rng)
        what += f", {again}"
    target.write_bytes(content)
    return what


def damage_bytes(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Flips, cuts, repeats, or overwrites bytes."""
    data = bytearray(content or b"\0")
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


def _damage_model(content: bytes, suffix: str, flag: str, data: Any, rng: random.Random) -> tuple[bytes, str]:
    from config_trees import mutated_configs, read_config, with_config
    from hypothesis import strategies as st

    config = read_config(content, suffix)
    where = data.draw(st.sampled_from(["bytes", "bytes", "structure"] + ["configuration"] * 4))
    if where == "configuration" and config is not None:
        mutated = data.draw(mutated_configs(config, flag))
        return with_config(content, suffix, mutated.text), mutated.what
    if where == "structure":
        return (_damage_archive if suffix == ".keras" else _damage_h5)(content, rng)
    return damage_bytes(content, rng)


def _damage_archive(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Damages the metadata or the weights of a `.keras` file, leaves a member out, or lets one grow."""
    from config_trees import with_members

    kind = rng.choice(["metadata", "missing", "weights", "bytes of the weights", "large"])
    if kind == "missing":
        name = rng.choice(["metadata.json", "config.json", "model.weights.h5"])
        return with_members(content, {name: None}), f"no {name}"
    if kind == "metadata":
        metadata = rng.choice(
            [b"{}", b"[]", b'{"keras_version": 3}', b'{"keras_version": "1.2.2"}', b'{"keras_version": "9"}', b"\xff"]
        )
        return with_members(content, {"metadata.json": metadata}), f"metadata {metadata!r}"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        weights = archive.read("model.weights.h5")
    if kind == "large":
        grown = io.BytesIO(with_members(content, {}))
        with zipfile.ZipFile(grown, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(rng.choice(["assets/large", "config.json"]), bytes(rng.choice([1 << 20, 1 << 29])))
        return grown.getvalue(), "a member that grows"
    if kind == "weights":
        weights, what = _damage_h5(weights, rng)
    else:
        weights, what = damage_bytes(weights, rng)
    return with_members(content, {"model.weights.h5": weights}), f"weights: {what}"


def _damage_h5(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Damages the version, the names or an array of an `.h5` file."""
    import h5py

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.h5"
        path.write_bytes(content)
        with h5py.File(path, "r+") as file:
            what = _damage_arrays(file, rng) if rng.random() < 0.5 else _damage_weights(file, rng)
        return path.read_bytes(), what


def _damage_arrays(file: Any, rng: random.Random) -> str:
    """Replaces an array by one of another size, type or place."""
    import h5py
    import numpy as np

    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    if not names:
        return "nothing"
    name = rng.choice(names)
    array = file[name][()]
    del file[name]
    kind = rng.choice(["empty", "grown", "packed", "outside", "link", "text", "scalar", "nan", "missing", "group"])
    if kind == "grown":
        file.create_dataset(name, (rng.choice([10**6, 10**9, 10**12]), *array.shape), "f4", chunks=True)
    elif kind == "packed":
        file.create_dataset(name, data=np.zeros((1 << 20,), "f4"), compression="gzip")
    elif kind == "outside":
        file.create_dataset(name, (16,), "u1", external=[("/etc/hostname", 0, 16)])
    elif kind == "link":
        file[name] = h5py.ExternalLink("/etc/hostname", "x")
    elif kind == "group":
        file.create_group(name)
    elif kind != "missing":
        file[name] = {
            "empty": array[..., :0] if array.ndim else array, "text": np.array([b"text"]), "scalar": np.float32(1),
            "nan": np.full_like(array, np.nan, dtype="f4"),
        }[kind]  # fmt: skip
    return f"{kind} {name}"


def _damage_weights(file: Any, rng: random.Random) -> str:
    import numpy as np

    weights = file.get("model_weights", file)
    named = [name for name in weights if weights[name].attrs.get("weight_names") is not None]
    if not named:
        return _damage_arrays(file, rng)
    name = rng.choice(named)
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
        names = names[: rng.randrange(len(names) + 1)] + rng.choice([[], names[:1], ["nowhere"], names[:1] * 500])
        target.attrs[key] = [name.encode() for name in names]
        return f"{key} of {target.name}"
    group = weights[name]
    for key in list(group.attrs["weight_names"])[:1]:
        array = group[key][()]
        del group[key]
        group[key] = rng.choice([array.T, array[:0], array.astype("int64"), np.full_like(array, np.nan), np.array([b"text"])])
        return f"array {key} of {name}"
    return "nothing"


def _damage_saved_model(source: pathlib.Path, target: pathlib.Path, flag: str, rng: random.Random) -> str:
    shutil.copytree(source, target)
    if rng.random() < 0.4:
        path = rng.choice(sorted(path for path in target.rglob("*") if path.is_file()))
        content, what = damage_bytes(path.read_bytes(), rng)
        path.write_bytes(content)
        return f"{path.name}: {what}"
    if rng.random() < 0.1:
        path = rng.choice(sorted(path for path in target.rglob("*") if path.is_file()))
        path.unlink()
        return f"no {path.name}"
    return _damage_graph(target / "saved_model.pb", flag, rng)


def _damage_graph(path: pathlib.Path, flag: str, rng: random.Random) -> str:
    """Changes what the graph of a SavedModel names: operations, inputs, functions, types, shapes, assets, objects."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    content = saved_model_pb2.SavedModel()
    content.ParseFromString(path.read_bytes())
    meta = content.meta_graphs[0]
    functions, objects = list(meta.graph_def.library.function), meta.object_graph_def
    nodes = [*meta.graph_def.node, *(node for function in functions for node in function.node_def)]
    node, function = rng.choice(nodes), rng.choice(functions)
    kind = rng.choice(["op", "input", "call", "type", "shape", "code", "asset", "bound", "child", "drop", "v1", "argument"])
    if kind == "op":
        node.op = rng.choice([name for name in dir(tf.raw_ops) if name[0].isupper()])
    elif kind == "input" and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice([rng.choice(nodes).name, "x", "", "^x", f"{node.name}:output:0"])
    elif kind == "call":
        node.attr["f"].func.name = function.signature.name
    elif kind == "type" and node.attr:
        node.attr[rng.choice(sorted(node.attr))].type = rng.randrange(30)
    elif kind == "shape":
        tensors = [node.attr["value"].tensor for node in nodes if node.op == "Const"]
        rng.choice(tensors).tensor_shape.dim.add(size=rng.choice([-1, 0, 3, 10**6, 10**12]))
    elif kind == "code":
        text = rng.choice(functions).node_def.add(name="planted_text", op="Const")
        text.attr["dtype"].type = text.attr["value"].tensor.dtype = 7
        text.attr["value"].tensor.string_val.append(flag.encode())
        function.node_def.add(name="planted", op="WriteFile", input=["planted_text:output:0", "planted_text:output:0"])
    elif kind == "asset" and meta.asset_file_def:
        meta.asset_file_def[0].filename = rng.choice(["../../../../etc/hostname", "/etc/hostname", "", "none.txt", "x" * 300])
    elif kind == "bound" and objects.concrete_functions:
        concrete = objects.concrete_functions[rng.choice(sorted(objects.concrete_functions))]
        concrete.bound_inputs.append(rng.randrange(-2, len(objects.nodes) + 2))
    elif kind == "child":
        rng.choice(objects.nodes).children.add(node_id=rng.randrange(-1, len(objects.nodes) + 2), local_name="again")
    elif kind == "drop":
        del rng.choice([function.node_def, meta.graph_def.node, objects.nodes, function.signature.input_arg])[:1]
    elif kind == "v1":
        meta.ClearField("object_graph_def")
    elif function.signature.input_arg:
        function.signature.input_arg[0].type = rng.randrange(25)
    path.write_bytes(content.SerializeToString())
    return f"{kind} of {node.name} or {function.signature.name}"


def _damage_npy(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Lets the header of a `.npy` file tell another array."""
    shape = rng.choice(
        ["(-1, 4)", "(9, 4)", "(1000000000000, 4)", "(12, 4, 0)", "()", "(48,)", "(12, 10**9)", "(True, 4)", "[12, 4]"]
    )
    kind = rng.choice(["<f4", "<f8", "|O", "|S0", "<U4", "<M8[s]", "|V4", "<c8", "|b1", "<i8", "x", "[('a', '<f4')]"])
    order = rng.choice(["True", "False", "None"])
    text = f"{{'descr': {kind!r}, 'fortran_order': {order}, 'shape': {shape}, }}"
    return content[:10] + text.ljust(117)[:117].encode() + b"\n" + content[128:], text


def _damage_npz(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Damages an array in a `.npz` file, or its name, or lets it grow."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in archive.namelist():
            member, what = rng.choice([_damage_npy, damage_bytes])(archive.read(name), rng)
            if rng.random() < 0.02:
                member += bytes(rng.choice([1 << 20, 1 << 29]))
            new.writestr(rng.choice([name, name, "../x.npy", "z.npy", ".npy"]), member)
    return out.getvalue(), what


def _damage_python(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Adds a line that fails, or that defines something else than a class or function."""
    lines = content.decode().split("\n")
    line = rng.choice([
        "raise SystemExit", "import sys; sys.exit(3)", "1 / 0", "import nowhere", "custom_objects = 7", "custom_objects = {1: 2}",
        "del Scale", "class Scale: pass", "Scale = None", "def f(:", "assert False", "\tx = 1", "async def g(): pass",
        "__name__ = 'other'", "globals().clear()", "import sys; sys.modules.pop(__name__, None)", "def f():\n    return f()\nf()",
    ])  # fmt: skip
    at = rng.randrange(len(lines) + 1)
    return "\n".join([*lines[:at], line, *lines[at:]]).encode(), f"line {at}: {line!r}"
