"""The model of `tfopt demo`: a small CNN trained on the handwritten digits that scikit-learn carries."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from tfopt.errors import OutputError, TfoptError
from tfopt.progress import Progress
from tfopt.request import PathRequest

if TYPE_CHECKING:
    import keras

_EPOCHS = 8


def build() -> keras.Model:
    """A CNN with a million weights: fewer would fit the CPU's caches even as float32, and int8 would bring little speed."""
    import keras

    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            keras.layers.Conv2D(16, 3, padding="same", use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Conv2D(32, 3, padding="same", use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Flatten(),
            keras.layers.Dense(512, activation="relu"),
            keras.layers.Dense(10, activation="softmax", name="digit"),
        ]
    )


def train(request: str, progress: Progress) -> dict[str, str]:
    """Trains the model and writes it, its calibration data and its validation data.

    Args:
        request: a `PathRequest` for the folder, as JSON.
        progress: called with {"stage", "done", "total"}.

    Returns:
        dict of the paths "model" (`.h5`), "calibrate" (`.npy`) and "validate" (`.npz`).

    Raises:
        OutputError: the folder cannot be written.
        TfoptError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise TfoptError(
            "The demo needs the digits of scikit-learn. Received: no such package. Install it: pip install 'tfopt[demo]'."
        ) from error
    import numpy as np

    folder = pathlib.Path(PathRequest.from_json(request).path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"A folder to write to is required. Received: {folder} ({error.strerror}). Give one with -o.") from error
    progress({"stage": "start TensorFlow"})
    import keras

    keras.utils.set_random_seed(0)
    images, digits = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 16.0).astype("float32")
    order = np.random.default_rng(0).permutation(len(images))
    train_rows, test_rows = order[360:], order[:360]
    model = build()
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    report = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: progress({"stage": "train", "done": epoch + 1, "total": _EPOCHS})
    )
    model.fit(images[train_rows], digits[train_rows], batch_size=64, epochs=_EPOCHS, verbose=0, callbacks=[report])
    paths = {
        "model": folder / "digits.h5",
        "calibrate": folder / "digits_train.npy",
        "validate": folder / "digits_test.npz",
    }
    model.save(paths["model"])
    np.save(paths["calibrate"], images[train_rows])
    np.savez(paths["validate"], x=images[test_rows], y=digits[test_rows])
    return {name: str(path) for name, path in paths.items()}
