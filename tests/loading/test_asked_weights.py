"""A configuration that asks for more weights than its file holds is refused before Keras makes them."""

import concurrent.futures
import json
import subprocess
import sys
import zipfile

import h5py
import keras
import pytest
import tf_keras

import tfopt
from tfopt import sizes
from tfopt.loading import asked_weights

REFUSED = "asks for no more weights than its file holds.*in layer '{}'; it was not made.*--allow-large"


def changed(path, change):
    """The file with a configuration that `change` has made of its own."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as file:
            members = {name: file.read(name) for name in file.namelist()}
        members["config.json"] = change(members["config.json"].decode()).encode()
        with zipfile.ZipFile(path, "w") as file:
            for name, content in members.items():
                file.writestr(name, content)
    else:
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = change(file.attrs["model_config"])
    return path


def larger(text):
    """The configuration with 10^9 units, filters, or rows in place of 3."""
    config = json.loads(text)

    def visit(node):
        if isinstance(node, dict):
            for key, value in node.items():
                if key in ("units", "filters", "input_dim") and value == 3:
                    node[key] = 10**9
                visit(value)
        elif isinstance(node, list):
            for item in node:
                visit(item)

    visit(config)
    return json.dumps(config)


LAYERS = {
    "dense": lambda layers: (layers.Input((4,)), layers.Dense(3, name="large")),
    "conv": lambda layers: (layers.Input((4, 4, 1)), layers.Conv2D(3, 3, name="large")),
    "lstm": lambda layers: (layers.Input((4, 2)), layers.LSTM(3, name="large")),
    "embedding": lambda layers: (layers.Input((4,)), layers.Embedding(3, 8, name="large")),
    "time distributed": lambda layers: (layers.Input((4, 2)), layers.TimeDistributed(layers.Dense(3, name="large"))),
}


@pytest.mark.parametrize("case", LAYERS)
@pytest.mark.parametrize("kind", ["keras.keras", "keras.h5", "tf_keras.keras", "tf_keras.h5"])
def test_a_large_layer_beside_small_weights(tmp_path, kind, case):
    module = keras if kind.startswith("keras") else tf_keras
    source, layer = LAYERS[case](module.layers)
    path = tmp_path / kind
    module.Model(source, layer(source)).save(path)
    tfopt.load(path)
    name = "lstm_cell|large" if case == "lstm" else "large"
    with pytest.raises(tfopt.LoadError, match=REFUSED.format(f"({name})")):
        tfopt.load(changed(path, larger))


def test_many_layers_count_together(tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "SMALL", 4 * 4000)
    layers = [keras.Input((30,)), *(keras.layers.Dense(30, name=f"dense_{index}") for index in range(9))]
    model = keras.Sequential(layers)
    with asked_weights.bounded(tmp_path, 9 * 930, keras2=False, allow_large=False):
        keras.models.clone_model(model)
    with asked_weights.bounded(tmp_path, 2000, keras2=False, allow_large=True):
        keras.models.clone_model(model)
    with (
        pytest.raises(tfopt.LoadError, match=REFUSED.format("dense_4")),
        asked_weights.bounded(tmp_path, 2000, keras2=False, allow_large=False),
    ):
        keras.models.clone_model(model)
    assert keras.models.clone_model(model).count_params() == 9 * 930  # nothing is bounded any longer


def test_other_threads_are_not_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "SMALL", 4)
    with asked_weights.bounded(tmp_path, 0, keras2=False, allow_large=False), concurrent.futures.ThreadPoolExecutor() as pool:
        built = pool.submit(lambda: keras.Sequential([keras.Input((30,)), keras.layers.Dense(30)]))
        assert built.result().count_params() == 930


def test_weights_that_do_not_fit_the_memory(tmp_path, monkeypatch):
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="dense")]).save(tmp_path / "model.keras")
    own = sizes.require_memory

    def little(needed, what, **options):
        monkeypatch.setattr(sizes, "free_memory", lambda: 40 if what.startswith("all weights") else 1 << 40)
        own(needed, what, **options)

    monkeypatch.setattr(sizes, "require_memory", little)
    with pytest.raises(tfopt.LoadError, match="all weights up to layer 'dense' together takes .*--allow-large"):
        tfopt.load(tmp_path / "model.keras")


def test_no_memory_is_taken(tmp_path):
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save(path)
    changed(path, lambda text: text.replace('"units": 3', '"units": 200000000'))
    code = (
        "import resource, sys, keras\nfrom tfopt.loading.load import load\n"
        "keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    load(sys.argv[1])\nexcept Exception as error:\n    print(type(error).__name__)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    kind, grown = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True).stdout.split()
    assert kind == "LoadError" and int(grown) < 300  # 3.2 GB of weights
