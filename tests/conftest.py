"""Small seeded models and data that many tests share; one TensorFlow import a process."""

import contextlib
import os
import pathlib
import re
import runpy
import subprocess
import sys

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

from tfopt import errors

# Keras starts sooner here and in all processes of the tests.
QUICK_KERAS = pathlib.Path(__file__).with_name("quick_keras")
if str(QUICK_KERAS) not in os.environ.get("PYTHONPATH", "").split(os.pathsep):
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(QUICK_KERAS), os.environ.get("PYTHONPATH")]))
    runpy.run_path(str(QUICK_KERAS / "sitecustomize.py"))


# Text of the converter, of TensorFlow's C++ code, and of Python's own errors, which says nothing to a user.
RAW_TEXT = re.compile(
    r"Traceback|<unknown>:\d|\bloc\(|\bmlir\b|MLIR|'tfl?\.[A-Za-z]|failed to legalize|\.cc:\d|\{\{node|StatusCode"
    r"|\bAssertionError\b|\bIndexError\b|\bAttributeError: '"
)


@pytest.fixture(autouse=True)
def readable_messages(monkeypatch):
    """No message of tfopt that a test provokes has raw text in it."""
    made = []

    def init(self: errors.TfoptError, *arguments: object) -> None:
        made.append(str(arguments[0]) if arguments else "")
        super(errors.TfoptError, self).__init__(*arguments)

    monkeypatch.setattr(errors.TfoptError, "__init__", init)
    yield
    raw = [message for message in made if RAW_TEXT.search(message)]
    assert not raw, f"raw text in a message: {raw[0]}"


@pytest.fixture(scope="session")
def digits():
    """scikit-learn's handwritten digits as ((train images, train labels), (test images, test labels)); images in [0, 1]."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 16.0).astype("float32")
    order = np.random.default_rng(0).permutation(len(images))
    return (images[order[400:]], labels[order[400:]]), (images[order[:400]], labels[order[:400]])


def build_classifier(layers, model_class, input_layer):
    """A Conv-BN-ReLU classifier of digits, of either Keras generation."""
    return model_class(
        [
            input_layer,
            layers.Conv2D(16, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(32, 3, padding="same", strides=2, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(10, activation="softmax", name="digit"),
        ]
    )


def train(model, optimizer, digits):
    """Trains a classifier of digits for a few seconds."""
    (images, labels), _ = digits
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images, labels, batch_size=64, epochs=10, verbose=0)
    return model


@pytest.fixture(scope="session")
def classifier(digits):
    """A trained Keras 3 Conv-BN-ReLU classifier."""
    import keras

    keras.utils.set_random_seed(0)
    model = build_classifier(keras.layers, keras.Sequential, keras.Input((8, 8, 1), name="image"))
    return train(model, keras.optimizers.Adam(3e-3), digits)


@pytest.fixture(scope="session")
def legacy_classifier(digits):
    """The same in Keras 2."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    model = build_classifier(tf_keras.layers, tf_keras.Sequential, tf_keras.layers.InputLayer((8, 8, 1), name="image"))
    return train(model, tf_keras.optimizers.Adam(3e-3), digits)


@pytest.fixture(scope="session")
def model_files(tmp_path_factory, classifier, legacy_classifier, digits):
    """A folder with the classifiers in every format, and calibration and validation data for them."""
    folder = tmp_path_factory.mktemp("models")
    (train_images, _), (test_images, test_labels) = digits
    classifier.save(folder / "keras3.keras")
    classifier.save(folder / "keras3.h5")
    classifier.export(folder / "saved_model", verbose=False)
    legacy_classifier.save(folder / "keras2.h5")
    legacy_classifier.save(folder / "keras2.keras")
    np.save(folder / "train.npy", train_images)
    np.savez(folder / "test.npz", x=test_images, y=test_labels)
    return folder


@pytest.fixture(scope="session")
def converted(classifier, digits):
    """The Keras 3 classifier as a checked int8 `ConversionResult`."""
    import tfopt

    (images, _), test = digits
    return tfopt.convert(classifier, representative_data=images, validation_data=test, runs=5)


@pytest.fixture
def run_process(tmp_path):
    """Runs `tfopt ARGS` in an empty folder; returns the finished process with stdout and stderr as text."""

    def run(*arguments, **options):
        command = [sys.executable, "-m", "tfopt", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, **options)

    return run


@pytest.fixture(scope="session")
def child_of_commands():
    """A function that gives the one child process in which all commands of `run_cli` work; a new one if it died."""
    from tfopt import isolation

    children = []

    def give():
        if not (children and children[-1].is_idle()):
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("PYTHONPATH", str(pathlib.Path(__file__).parent), prepend=os.pathsep)
                children.append(isolation.Child(preload="tensorflow"))
        return children[-1]

    yield give
    for child in children:
        child.__exit__()


@pytest.fixture
def run_cli(child_of_commands, tmp_path, monkeypatch, capfd):
    """The same without new processes: the command runs here, and the work in a child that all calls share."""
    from tfopt import isolation
    from tfopt.cli.main import main
    from tfopt.request import PathRequest

    @contextlib.contextmanager
    def shared_child(preload=""):
        child = child_of_commands()
        child.call("child_functions:change_folder", PathRequest(str(tmp_path)), timeout=60)
        yield child

    def run(*arguments):
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["tfopt", *map(str, arguments)])
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(isolation, "warm_child", shared_child)
            main()
        stdout, stderr = capfd.readouterr()
        return subprocess.CompletedProcess(sys.argv, ended.value.code or 0, stdout, stderr)

    monkeypatch.chdir(tmp_path)
    return run
