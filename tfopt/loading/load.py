"""`load()`: a `.keras` or `.h5` file or a SavedModel folder, written by any Keras, becomes a model."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from tfopt.errors import LoadError
from tfopt.files import PathLike
from tfopt.keras2 import door
from tfopt.loading import asked_weights, config_safety, float32, model_file
from tfopt.loading.custom_objects import add_registered_names, by_name, registered_names
from tfopt.loading.dequantize import dequantized
from tfopt.loading.graph import safety as graph_safety
from tfopt.loading.h5 import reachable, weights
from tfopt.loading.h5.load import load_h5
from tfopt.loading.h5.weight_groups import read_groups
from tfopt.loading.options import Architecture, CustomObjects, LoadOptions
from tfopt.loading.saved_model import load_saved_model
from tfopt.loading.weights_file import load_weights
from tfopt.progress import progress_bar

if TYPE_CHECKING:
    import keras


Rows = Mapping[str, npt.NDArray[Any]]
"""Samples of the user: array (rows, ...) by the name of the input, as in `signature.input_specs`."""


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model and the steps of its reading.

    Attributes:
        model: of either Keras generation.
        steps: who wrote and who read the file, and each repair; the last one tells what was verified.
        compare: a function of samples, or None, that compares the outputs of the model with those of another reader and returns a
            clause about it; None if there is no other reader.
    """

    model: Any
    steps: tuple[str, ...]
    compare: Callable[[Rows | None], str] | None = None

    def verified(self, rows: Rows | None = None) -> tuple[Any, tuple[str, ...]]:
        """Compares the outputs with those of another reader, if there is one.

        Example: `model, steps = load_file("model.h5", LoadOptions()).verified({"image": images[:2]})`

        Args:
            rows: a few samples of the user's data, on which to compare; None (default) for made-up ones.

        Returns:
            (model, steps).
        """
        if self.compare is None:
            return self.model, self.steps
        *before, last = self.steps
        return self.model, (*before, f"{last}; {self.compare(rows)}")


def load(
    path: PathLike,
    *,
    custom_objects: CustomObjects = None,
    architecture: Architecture = None,
    allow_unsafe: bool = False,
    allow_large: bool = False,
    verbose: bool = True,
) -> keras.Model:
    """Loads a model for inference with the Keras generation that wrote it. The file is checked for code before any of it runs.

    Example:

    ```python
    model = tfopt.load("model.h5")
    model = tfopt.load("model.keras", custom_objects={"Swish2": Swish2})
    model = tfopt.load("weights.h5", architecture="my_models:build")
    ```

    Args:
        path: of a `.keras` file, an `.h5` / `.hdf5` file of Keras 1 to 3, or a SavedModel folder.
        custom_objects: None, a dict of name -> class or function, or the path of a Python file that defines them
            (the file is run; a dict named `custom_objects` in it adds names that Python cannot have, as "<lambda>"). A function
            under the name of a `Lambda` layer, or of a layer whose activation is a `<lambda>`, is used for that layer.
        architecture: for a file that holds only weights, the function that builds the model: "module:function",
            "file.py:function" or a function. It is called without arguments.
        allow_unsafe: whether the file may do more than compute: run Python (`Lambda` layers), read and write files of this machine,
            use the network. Only for files whose writer you trust.
        allow_large: whether the content of the file may take any memory. Otherwise it must fit the free memory, and must not take
            more than `sizes.SMALL` bytes and `sizes.GROWTH` times the size of the file.
        verbose: whether a progress bar is drawn on a terminal or in a notebook.

    Returns:
        A `keras.Model`. A file that Keras 1 or 2 wrote becomes a `tf_keras.Model`, since Keras 3 misreads some of them.
        Layers that computed in float16 or bfloat16 compute in float32.

    Raises:
        ArgumentError: an option has a value that cannot be used.
        LoadError: the file is missing, damaged, too large, without an architecture, or needs a class that was not given.
        UnsafeModelError: the file could do more than compute, and `allow_unsafe` is false.
    """
    options = LoadOptions(
        custom_objects=custom_objects, architecture=architecture, allow_unsafe=allow_unsafe, allow_large=allow_large
    )
    with progress_bar(verbose) as progress:
        progress({"stage": "load"})
        return load_file(path, options).model


def load_file(path: PathLike, options: LoadOptions) -> Loaded:
    """Loads a model as `load` does, and reports each step.

    Args:
        path: as for `load`.
        options: for a file of any kind.

    Returns:
        The model and the steps of its reading. Outputs are compared with those of another reader when `verified` asks for it.
    """
    found = model_file.read(path, allow_unsafe=options.allow_unsafe, allow_large=options.allow_large)
    custom_objects = by_name(options.custom_objects)
    if found.kind == "saved_model":
        if not options.allow_unsafe:
            graph_safety.require_safe(found.path, allow_large=options.allow_large)
        return Loaded(load_saved_model(found.path), ("read with TensorFlow: a SavedModel",))
    if options.architecture is not None or found.kind == "weights":
        return Loaded(*load_weights(found, options))
    with _named_by_kind(found) as named:
        if found.kind == "h5" and not found.written_by_keras_3:
            model, steps, compare = load_h5(found, custom_objects, options)
            return Loaded(model, steps, functools.partial(_compared, found, compare))
        return Loaded(*_load_whole(found, named, custom_objects, options))


def _compared(found: model_file.ModelFile, compare: Callable[[str, Rows | None], str], rows: Rows | None) -> str:
    with _named_by_kind(found) as named:
        return compare(named, rows)


def _load_whole(
    found: model_file.ModelFile, named: str, custom_objects: dict[str, Any], options: LoadOptions
) -> tuple[Any, tuple[str, ...]]:
    """Loads a `.keras` file of either generation, or an `.h5` file of Keras 3: its own Keras reads all of it."""
    import keras

    if not options.allow_unsafe:
        config_safety.require_safe(found, custom_objects={*custom_objects, *registered_names(found)})
    custom_objects = add_registered_names(found.config, custom_objects)
    reader = f"Keras {keras.__version__}" if found.written_by_keras_3 else f"tf_keras {door.version()}"
    try:
        with asked_weights.bounded(found.path, found.held, keras2=not found.written_by_keras_3, allow_large=options.allow_large):
            if found.written_by_keras_3:
                safe_mode = not options.allow_unsafe
                model = keras.saving.load_model(named, custom_objects=custom_objects, compile=False, safe_mode=safe_mode)
            else:
                reachable.require_followable(found.config)
                model = door.load_model(named, custom_objects=custom_objects, safe_mode=not options.allow_unsafe)
        model_file.require_layers(model)
    except LoadError:
        raise
    except Exception as error:  # Keras raises any exception for a damaged file; the user gets one clear message
        raise model_file.unreadable(found, error) from error
    steps = [] if reader == f"Keras {found.keras_version}" else [f"read with {reader}: written by Keras {found.keras_version}"]
    if found.kind == "h5":
        count = weights.assign(model, read_groups(found.path, allow_large=options.allow_large), found.path)
        steps.append(f"verified: {count} of {count} weights assigned once")
    if low := float32.low_precision_layers(model):
        kinds = sorted({layer.compute_dtype for layer in low})
        steps.append(f"repaired: rebuilt under float32: layers computed in {', '.join(kinds)}")
        model = float32.as_float32(model)
    model, note = dequantized(model)
    return model, (*steps, *([f"repaired: {note}"] if note else []))


@contextlib.contextmanager
def _named_by_kind(found: model_file.ModelFile) -> Iterator[str]:
    """Yields a path of the file whose ending tells its kind, since Keras decides by the name."""
    suffixes = (".keras",) if found.kind == "keras" else (".h5", ".hdf5")
    if found.path.suffix in suffixes:
        yield str(found.path)
        return
    with tempfile.TemporaryDirectory(prefix="tfopt-") as folder:
        named = pathlib.Path(folder) / f"model{suffixes[0]}"
        shutil.copyfile(found.path, named)
        yield str(named)
