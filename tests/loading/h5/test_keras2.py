"""`.h5` files written array by array: generations and damages of which there is no real file at hand."""

import json

import h5py
import keras
import numpy as np
import pytest
import tf_keras

import tfopt
from tfopt.loading.load import load_with_steps
from tfopt.loading.options import LoadOptions


def write(path, layers, weights, **attributes):
    """An `.h5` as Keras writes it: `layers` a list (Sequential) or a configuration, `weights` layer -> list of (name, array)."""
    config = {"class_name": "Sequential", "config": layers} if isinstance(layers, list) else layers
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config).encode()
        for name, value in attributes.items():
            file.attrs[name] = value.encode()
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [name.encode() for name in weights]
        for layer, arrays in weights.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name, _ in arrays]
            for name, array in arrays:
                group[name] = array
    return path


@pytest.fixture
def random():
    rng = np.random.default_rng(0)
    return lambda *shape: (0.4 * rng.normal(size=shape)).astype("float32")


def layer(kind, name, **config):
    return {"class_name": kind, "config": {"name": name, **config}}


@pytest.mark.parametrize("suffix", ["", ":0"], ids=["Theano", "TensorFlow"])
def test_keras_1_with_theanos_ordering(tmp_path, random, suffix):
    kernel, bias, dense, offset = random(5, 3, 3, 3), random(5), random(45, 4), random(4)
    gamma, beta, mean, variance = random(5), random(5), random(5), np.abs(random(5)) + 0.5
    layers = [
        layer("Convolution2D", "c", batch_input_shape=[None, 3, 8, 8], input_dtype="float32", nb_filter=5, nb_row=3, nb_col=3,
              init="he_normal", activation="relu", border_mode="valid", subsample=[1, 1], dim_ordering="th", bias=True,
              W_regularizer={"name": "WeightRegularizer", "l1": 0.0, "l2": 0.1}),
        layer("BatchNormalization", "n", mode=0, axis=1, epsilon=1e-5, momentum=0.9),
        layer("MaxPooling2D", "p", pool_size=[2, 2], border_mode="valid", strides=[2, 2], dim_ordering="th"),
        layer("Dropout", "r", p=0.5),
        layer("Flatten", "f"),
        layer("Dense", "d", output_dim=4, init="uniform", activation="linear", input_dim=45),
    ]  # fmt: skip
    weights = {
        "c": [("c_W", kernel), ("c_b", bias)],
        "n": [("n_gamma", gamma), ("n_beta", beta), ("n_running_mean", mean), ("n_running_std", variance)],
        "p": [],
        "d": [("d_W", dense), ("d_b", offset)],
    }
    weights = {name: [(key + suffix, array) for key, array in arrays] for name, arrays in weights.items()}
    x = random(2, 3, 8, 8)
    seen = kernel if suffix else kernel[:, :, ::-1, ::-1]  # Theano convolves, TensorFlow correlates
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    column = (1, 5, 1, 1)
    y = np.maximum(np.einsum("bchwij,fcij->bfhw", windows, seen) + bias.reshape(column), 0)
    y = (y - mean.reshape(column)) / np.sqrt(variance.reshape(column) + 1e-5) * gamma.reshape(column) + beta.reshape(column)
    expected = y.reshape(2, 5, 3, 2, 3, 2).max((3, 5)).reshape(2, -1) @ dense + offset
    model, steps = load_with_steps(write(tmp_path / "th.h5", layers, weights), LoadOptions())
    np.testing.assert_allclose(model(x), expected, atol=1e-5)
    assert "repaired: c: Conv2D with channels first runs with channels last, between two Permute layers" in steps


@pytest.mark.parametrize(
    "padding",
    [[1, 2], [1, 0, 2, 1], {"top_pad": 1, "bottom_pad": 0, "left_pad": 2, "right_pad": 1}],
    ids=["symmetric", "in a row", "named"],
)
def test_keras_1_padding(tmp_path, random, padding):
    layers = [
        layer("ZeroPadding2D", "z", batch_input_shape=[None, 4, 4, 2], input_dtype="float32", padding=padding, dim_ordering="tf")
    ]
    sides = ((1, 1), (2, 2)) if padding == [1, 2] else ((1, 0), (2, 1))
    x = random(1, 4, 4, 2)
    model = tfopt.load(write(tmp_path / "z.h5", layers, {"z": []}, keras_version="1.2.1"))
    np.testing.assert_array_equal(model(x), np.pad(x, ((0, 0), *sides, (0, 0))))


def test_keras_1_sequential_of_merged_branches(tmp_path, random):
    first, second, last = [(random(4, 3), random(3)) for _ in range(2)] + [(random(6, 2), random(2))]

    def dense(name, units=3, **more):
        return layer("Dense", name, output_dim=units, init="one", activation="linear", **more)

    branches = [
        {"class_name": "Sequential", "config": [dense("a", batch_input_shape=[None, 4], input_dtype="float32")]},
        {
            "class_name": "Sequential",
            "config": [dense("b", batch_input_shape=[None, 4]), layer("Activation", "t", activation="tanh")],
        },
    ]
    layers = [layer("Merge", "m", mode="concat", concat_axis=1, layers=branches), dense("o", 2)]
    weights = {name: [(f"{name}_W:0", w), (f"{name}_b:0", b)] for name, (w, b) in zip("abo", (first, second, last), strict=True)}
    model = tfopt.load(write(tmp_path / "merge.h5", layers, weights, keras_version="1.0.4"))
    x1, x2 = random(5, 4), random(5, 4)
    expected = np.concatenate([x1 @ first[0] + first[1], np.tanh(x2 @ second[0] + second[1])], 1) @ last[0] + last[1]
    np.testing.assert_allclose(model([x1, x2]), expected, atol=1e-5)


def test_theanos_kernels_of_keras_2_are_mirrored_and_its_gru_resets_before(tmp_path, random):
    layers = tf_keras.layers
    original = tf_keras.Sequential([layers.Conv1D(4, 3, input_shape=(9, 2)), layers.GRU(3, reset_after=False)])
    config = json.loads(original.to_json())
    for node in config["config"]["layers"]:
        node["config"].pop("reset_after", None)
    arrays = original.get_weights()
    conv, gru = (item.name for item in original.layers)
    weights = {
        conv: [("kernel", arrays[0][::-1]), ("bias", arrays[1])],
        gru: [(f"w{i}", array) for i, array in enumerate(arrays[2:])],
    }
    path = write(tmp_path / "theano.h5", config, weights, keras_version="2.2.4", backend="theano")
    x = random(3, 9, 2)
    np.testing.assert_allclose(tfopt.load(path)(x), original(x), atol=1e-6)


@pytest.mark.parametrize("kind, gates", [("LSTM", 4), ("GRU", 3)])
def test_cudnn_layers_become_plain_ones(tmp_path, random, kind, gates):
    arrays = [("k:0", random(3, 5 * gates)), ("r:0", random(5, 5 * gates)), ("b:0", random(10 * gates))]
    layers = [layer(f"CuDNN{kind}", "rnn", batch_input_shape=[None, 6, 3], units=5, return_sequences=False)]
    path = write(tmp_path / "cudnn.h5", layers, {"rnn": arrays}, keras_version="2.2.0", backend="tensorflow")
    by_tf_keras = tf_keras.Sequential([getattr(tf_keras.layers, kind)(5, input_shape=(6, 3), name="rnn")])
    by_tf_keras.load_weights(path)
    x = random(2, 6, 3)
    np.testing.assert_allclose(tfopt.load(path)(x), by_tf_keras(x), atol=1e-6)


@pytest.mark.parametrize(
    "node, words",
    [
        (layer("BatchNormalization", "odd", mode=2), "odd.*normalizes with mode=2"),
        (layer("Merge", "odd", mode="cos"), "odd.*merges with 'cos'"),
        (layer("SReLU", "odd"), "'odd' needs 'SReLU'"),
        (layer("Activation", "odd", activation="my_swish"), "'odd' has the activation 'my_swish'.*def my_swish"),
    ],
    ids=["batch statistics", "cosine", "SReLU", "activation"],
)
def test_what_no_later_keras_has_is_asked_for(tmp_path, random, node, words):
    layers = [layer("Dense", "d", batch_input_shape=[None, 4], output_dim=3, init="one"), node]
    path = write(tmp_path / "odd.h5", layers, {"d": [("d_W:0", random(4, 3)), ("d_b:0", random(3))]}, keras_version="1.2.0")
    with pytest.raises(tfopt.LoadError, match=f"(?s){words}"):
        tfopt.load(path)


def test_parts_of_training_are_not_needed(tmp_path, random):
    node = layer("Dense", "d", batch_input_shape=[None, 4], units=3, kernel_initializer={"class_name": "Mine", "config": {}},
                 kernel_regularizer={"class_name": "Ours", "config": {}})  # fmt: skip
    kernel, bias = random(4, 3), random(3)
    path = write(tmp_path / "mine.h5", [node], {"d": [("k:0", kernel), ("b:0", bias)]}, keras_version="2.1.6")
    model, steps = load_with_steps(path, LoadOptions())
    np.testing.assert_allclose(model(np.eye(4, dtype="float32")), kernel + bias, atol=1e-6)
    assert [step for step in steps if "left out the kernel_" in step and ("'Mine'" in step or "'Ours'" in step)]


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["Keras 3", "Keras 2"])
def test_layers_that_compute_with_what_follows_from_their_weights(tmp_path, random, library):
    normalization = library.layers.Normalization()
    normalization.adapt(3 * random(50, 4) + 2)
    original = library.Sequential([library.Input((4,)), normalization, library.layers.Dense(2)])
    original.save(tmp_path / "normalization.h5")
    x = random(3, 4)
    np.testing.assert_allclose(tfopt.load(tmp_path / "normalization.h5")(x), original(x), atol=1e-5)


_FIRST = {2: ((0, 2, 3, 1), (0, 3, 1, 2)), 1: ((0, 2, 1), (0, 2, 1)), 3: ((0, 2, 3, 4, 1), (0, 4, 1, 2, 3))}


@pytest.mark.parametrize(
    "build, rank",
    [
        (lambda layers, **more: layers.Conv2D(4, 3, strides=2, padding="same", **more), 2),
        (lambda layers, **more: layers.DepthwiseConv2D(3, **more), 2),
        (lambda layers, **more: layers.Conv2DTranspose(4, 3, strides=2, **more), 2),
        (lambda layers, **more: layers.ZeroPadding2D(((1, 0), (2, 1)), **more), 2),
        (lambda layers, **more: layers.GlobalMaxPooling2D(**more), 2),
        (lambda layers, **more: layers.Conv1D(4, 3, **more), 1),
        (lambda layers, **more: layers.Conv3D(4, 3, **more), 3),
    ],
    ids=["Conv2D", "Depthwise", "Transpose", "ZeroPadding", "GlobalMaxPooling", "Conv1D", "Conv3D"],
)
def test_channels_first_computes_the_same(tmp_path, random, build, rank):
    there, back = _FIRST[rank]
    sizes = (6, 7, 8)[:rank]
    original = tf_keras.Sequential([build(tf_keras.layers, input_shape=(*sizes, 3), data_format="channels_last", name="it")])
    arrays = [random(*array.shape) for array in original.get_weights()]
    original.set_weights(arrays)
    first = tf_keras.Sequential([build(tf_keras.layers, input_shape=(3, *sizes), data_format="channels_first", name="it")])
    weights = {"it": [(f"w{index}:0", array) for index, array in enumerate(arrays)]}
    path = write(tmp_path / "first.h5", json.loads(first.to_json()), weights, keras_version="2.2.4", backend="tensorflow")
    x = random(2, 3, *sizes)
    expected = original(x.transpose(there)).numpy()
    expected = expected.transpose(back) if expected.ndim > 2 else expected
    np.testing.assert_allclose(tfopt.load(path)(x), expected, atol=1e-5)


def _edit_names(group, key, edit):
    names = list(group.attrs[key])
    group.attrs[key] = edit(names)


def _add_group(root):
    root.create_group("three")["k"] = np.ones(3)
    root["three"].attrs["weight_names"] = [b"k"]
    _edit_names(root, "layer_names", lambda names: [*names, "three"])


def _reshape(root):
    name = root["two"].attrs["weight_names"][0]
    del root["two"][name]
    root["two"][name] = np.ones((2, 3))


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda root: _edit_names(root, "layer_names", lambda names: names[:1]), "no weights of layer 'two'"),
        (_add_group, r"weights of the layers \['three'\]"),
        (lambda root: _edit_names(root["two"], "weight_names", lambda names: names[:1]), "1 weights of layer 'two', which has 2"),
        (_reshape, r"shape \(2, 3\) for 'two' \(Dense\), whose .* has the shape \(3, 2\)"),
        (lambda root: root["two"].attrs.__delitem__("weight_names"), "attribute 'weight_names' is missing"),
    ],
    ids=["missing", "surplus", "too few", "shape", "no names"],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, damage, words):
    layers = tf_keras.layers
    tf_keras.Sequential([layers.Dense(3, input_shape=(4,), name="one"), layers.Dense(2, name="two")]).save(tmp_path / "two.h5")
    with h5py.File(tmp_path / "two.h5", "r+") as file:
        damage(file["model_weights"])
    with pytest.raises(tfopt.LoadError, match=words):
        tfopt.load(tmp_path / "two.h5")


def test_a_graph_that_turns_in_circles_is_refused(tmp_path, random):
    source = layer("InputLayer", "in", batch_input_shape=[None, 3]) | {"name": "in", "inbound_nodes": []}
    first = layer("Activation", "a", activation="relu") | {"name": "a", "inbound_nodes": [[["b", 0, 0, {}]]]}
    second = layer("Activation", "b", activation="relu") | {"name": "b", "inbound_nodes": [[["a", 0, 0, {}]]]}
    graph = {"name": "m", "layers": [source, first, second], "input_layers": [["in", 0, 0]], "output_layers": [["b", 0, 0]]}
    path = write(tmp_path / "ring.h5", {"class_name": "Model", "config": graph}, {}, keras_version="2.2.4")
    with pytest.raises(tfopt.LoadError, match="cannot be reached from the inputs"):
        tfopt.load(path)


def test_a_layer_that_was_never_called_feeds_nobody(tmp_path):
    source = layer("InputLayer", "in", batch_input_shape=[None, 3]) | {"name": "in", "inbound_nodes": []}
    first = layer("Activation", "a", activation="relu") | {"name": "a", "inbound_nodes": {}}
    second = layer("Activation", "b", activation="relu") | {"name": "b", "inbound_nodes": [[["a", 0, 0, {}]]]}
    graph = {"name": "m", "layers": [source, first, second], "input_layers": [["in", 0, 0]], "output_layers": [["b", 0, 0]]}
    path = write(tmp_path / "loose.h5", {"class_name": "Model", "config": graph}, {}, keras_version="2.2.4")
    with pytest.raises(tfopt.LoadError, match="cannot be reached from the inputs"):
        tfopt.load(path)


@pytest.mark.parametrize("index", [float("nan"), float("inf"), None, 7, -1], ids=str)
@pytest.mark.parametrize("position", [1, 2], ids=["node", "tensor"])
def test_a_graph_with_a_lost_tensor_is_refused(tmp_path, index, position):
    reference = ["in", 0, 0, {}]
    reference[position] = index
    source = layer("InputLayer", "in", batch_input_shape=[None, 3]) | {"name": "in", "inbound_nodes": []}
    first = layer("Activation", "a", activation="relu") | {"name": "a", "inbound_nodes": [[reference]]}
    graph = {"name": "m", "layers": [source, first], "input_layers": [["in", 0, 0]], "output_layers": [["a", 0, 0]]}
    path = write(tmp_path / "lost.h5", {"class_name": "Model", "config": graph}, {}, keras_version="2.2.4")
    with pytest.raises(tfopt.LoadError, match="damaged configuration"):
        tfopt.load(path)
