"""Strategies for configurations of models, damaged and hostile, and files that hold them."""

import base64
import copy
import dataclasses
import io
import json
import marshal
import pathlib
import tempfile
import zipfile

import h5py
from hypothesis import strategies as st

from tfopt.request import Request

DEEP = "replaced by nested lists"
NAMES_OF_CLASSES = [
    "Activation", "BatchNormalization", "Bidirectional", "ClassMethod", "Conv2D", "Convolution2D", "CuDNNLSTM", "Dense", "Dropout",
    "Embedding", "Flatten", "Functional", "GRU", "InputLayer", "InstanceProperty", "LSTM", "Lambda", "Merge", "Model",
    "MultiHeadAttention", "Nope", "RNN", "Reshape", "Sequential", "SlicingOpLambda", "TFOpLambda", "TensorFlowOpLayer",
    "TimeDistributed", "TimeDistributedDense", "ZeroPadding2D", "__lambda__", "elsewhere>Dense", "function", "function of layer x",
    "",
]  # fmt: skip
NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1, 2, 7, 10**5, 10**9, 10**12, -(10**12), 10**18, 10**30, 0.5, 1e308, float("nan"), float("inf")]),
    st.integers(-5, 300),
    st.floats(),
)
TEXTS = st.sampled_from(["", "relu", "softmax", "None", "float16", "channels_first", "os", "keras", "x" * 300, "\x00", "ä"])
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)), max_leaves=6
)


@dataclasses.dataclass(frozen=True)
class Attempt(Request):
    """A request to `child_functions.read_file`.

    Attributes:
        path: of a file or folder.
        inspect: whether it is inspected rather than loaded.
        kind: "" for a model, or a kind of `tools/fuzz_load.py`.
    """

    path: str
    inspect: bool = False
    kind: str = ""


@dataclasses.dataclass(frozen=True)
class Mutated:
    """A configuration as JSON, and what was done to it."""

    text: str
    what: str


@st.composite
def mutated_configs(draw, tree, flag):
    """Strategy for `Mutated`.

    Args:
        tree: dict, the configuration of a valid model.
        flag: str, path of a file that hostile configurations would write.
    """
    root = [copy.deepcopy(tree)]
    done = []
    for mutate in draw(st.lists(st.sampled_from(MUTATIONS), min_size=1, max_size=3)):
        places = list(_places(root))
        done.append(f"{mutate.__name__} {mutate(draw, places, flag)}")
    depth = draw(st.sampled_from([3, 60, 900, 20_000]))  # as text, as Python cannot write so deep a tree
    return Mutated(json.dumps(root[0]).replace(f'"{DEEP}"', "[" * depth + "]" * depth), ", ".join(done))


def _places(node):
    """(parent, key) of all parts of a tree."""
    if isinstance(node, dict | list):
        for key in node if isinstance(node, dict) else range(len(node)):
            yield node, key
            yield from _places(node[key])


def _choose(draw, places, fits=lambda key, value: True):
    """One of the places that fit, of all where none does."""
    fitting = [place for place in places if fits(place[1], place[0][place[1]])] or places
    return fitting[draw(st.integers(0, len(fitting) - 1))]


def drop_key(draw, places, flag):
    if not places[1:]:
        return "of none"
    parent, key = _choose(draw, places[1:])
    del parent[key]
    return repr(key)


def change_value(draw, places, flag):
    parent, key = _choose(draw, places)
    parent[key] = draw(VALUES)
    return repr(key)


def change_number(draw, places, flag):
    parent, key = _choose(draw, places, lambda key, value: isinstance(value, int | float))
    parent[key] = draw(NUMBERS)
    return f"{key!r} to {parent[key]!r}"


def swap_class(draw, places, flag):
    parent, key = _choose(draw, places, lambda key, value: key in ("class_name", "registered_name", "module", "function"))
    parent[key] = draw(st.sampled_from(NAMES_OF_CLASSES))
    return f"{key!r} to {parent[key]!r}"


def confuse_names(draw, places, flag):
    """Takes one layer for another: graphs with circles, layers that feed themselves, two layers of one name."""
    names = sorted({str(parent[key]) for parent, key in places if key == "name"})
    if not names:
        return "of none"
    parent, key = _choose(draw, places, lambda key, value: isinstance(value, str) and value in names)
    parent[key] = draw(st.sampled_from(names))
    return f"{key!r} to {parent[key]!r}"


def nest(draw, places, flag):
    parent, key = _choose(draw, places)
    value = parent[key]
    for _ in range(draw(st.integers(1, 40))):
        value = draw(st.sampled_from([[value], {"config": value}, {"class_name": "Sequential", "config": {"layers": [value]}}]))
    parent[key] = value
    return repr(key)


def nest_deeply(draw, places, flag):
    parent, key = _choose(draw, places)
    parent[key] = DEEP
    return repr(key)


def swap_parts(draw, places, flag):
    parent, key = _choose(draw, places)
    other, where = _choose(draw, places)
    parent[key] = copy.deepcopy(other[where])
    return f"{key!r} by {where!r}"


def repeat(draw, places, flag):
    parent, key = _choose(draw, places)
    if isinstance(parent, list):
        parent.insert(0, copy.deepcopy(parent[key]))
    else:
        parent[f"{key}_2"] = copy.deepcopy(parent[key])
    return repr(key)


def plant_code(draw, places, flag):
    parent, key = _choose(draw, places, lambda key, value: isinstance(value, dict) and "class_name" in value)
    if draw(st.booleans()):
        parent, key = _choose(draw, places, lambda key, value: key in ("activation", "kernel_initializer", "layer", "dtype"))
    parent[key] = copy.deepcopy(draw(st.sampled_from(gadgets(flag))))
    return f"at {key!r}"


MUTATIONS = (
    drop_key, change_value, change_number, swap_class, confuse_names, nest, nest_deeply, swap_parts, repeat, plant_code,
)  # fmt: skip


def gadgets(flag):
    """Parts of configurations that would write a file if they ran."""
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
        function,
    ]


def make_models(folder):
    """Writes one small model with both generations of Keras as `.keras` and `.h5`.

    Returns:
        list of four paths.
    """
    import keras
    import tf_keras

    paths = []
    for name, library in (("new", keras), ("old", tf_keras)):
        layers = library.layers
        source = library.Input((8, 8, 2), name="image")
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(source)))
        x = layers.Add()([x, layers.DepthwiseConv2D(3, padding="same")(x)])
        x = layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x))
        model = library.Model(source, x)
        for suffix in (".keras", ".h5"):
            paths.append(folder / f"{name}{suffix}")
            model.save(paths[-1])
    return paths


def read_config(content, suffix):
    """The configuration in the bytes of a `.keras` or `.h5` file; None where there is none."""
    if suffix == ".keras":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return json.loads(archive.read("config.json"))
    with h5py.File(io.BytesIO(content), "r") as file:
        return json.loads(file.attrs["model_config"]) if "model_config" in file.attrs else None


def with_config(content, suffix, text):
    """The bytes of a file with another configuration."""
    if suffix == ".keras":
        return with_members(content, {"config.json": text.encode()})
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.h5"
        path.write_bytes(content)
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = text
        return path.read_bytes()


def with_members(content, members):
    """The bytes of an archive with other members: {name: bytes, or None to leave it out}."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(out, "w") as new:
        for name in archive.namelist():
            member = members.get(name, archive.read(name))
            if member is not None:
                new.writestr(name, member)
    return out.getvalue()
