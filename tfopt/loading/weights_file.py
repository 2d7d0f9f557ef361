"""A file of which only the weights are read, into a model that the user's function builds."""

from __future__ import annotations

import pathlib
import shutil
import tempfile
from typing import Any

from tfopt.errors import LoadError
from tfopt.loading import architecture as architectures
from tfopt.loading import float32, model_file
from tfopt.loading.h5 import weights
from tfopt.loading.h5.layouts import Writer
from tfopt.loading.h5.weight_groups import is_new_layout, read_groups, require_all_in
from tfopt.loading.options import LoadOptions


def load_weights(found: model_file.ModelFile, options: LoadOptions) -> tuple[Any, tuple[str, ...]]:
    """Builds a model with `options.architecture` and assigns every weight of the file to it.

    Example: `load_weights(model_file.read("weights.h5"), LoadOptions(architecture="my_models:build"))`

    Args:
        found: an HDF5 file, with or without an architecture of its own.
        options: as for `load`.

    Returns:
        (model, steps), as `Loaded` has them.

    Raises:
        LoadError: the architecture is missing or does not build a model, or the weights are not those of the model.
    """
    architecture = options.architecture
    if architecture is None:
        raise model_file.refusal(
            found.path,
            "an HDF5 file with weights only",
            "Give the function that builds the model with --architecture MODULE:FUNCTION (Python: architecture=function), for "
            "example my_models:build for a file my_models.py with `def build(): return keras.Sequential([...])`.",
        )
    model = architectures.build(architecture)
    if found.kind == "keras":
        raise LoadError(
            f"`architecture` belongs to an HDF5 file. Received: {found.path}, a `.keras` archive. Leave `architecture` out: the "
            "archive has its own."
        )
    if is_new_layout(found.path):
        count = _load_new_layout(found.path, model)
    else:
        writer = Writer(is_keras_1=found.keras_version.startswith("1."), is_theano=found.backend == "theano")
        count = weights.assign(model, read_groups(found.path, allow_large=options.allow_large), found.path, writer, by_order=True)
    steps = (
        f"built by {architectures.name_of(architecture)}, weights from a file of Keras {found.keras_version or '(unknown)'}",
        f"verified: {count} of {count} weights assigned once",
    )
    return float32.as_float32(model), steps


def _load_new_layout(path: pathlib.Path, model: Any) -> int:
    """Loads a `.weights.h5` file with the model's own Keras, which knows the layout by this ending; returns the count of arrays."""
    with tempfile.TemporaryDirectory(prefix="tfopt-") as folder:
        named = pathlib.Path(folder) / "model.weights.h5"
        shutil.copyfile(path, named)
        try:
            model.load_weights(str(named))
        except Exception as error:
            raise LoadError(
                f"The architecture must be that of the weights. Received: {path}: {model_file.first_lines(error)} "
                "Give the function that built the saved model."
            ) from error
    return require_all_in(path, model)
