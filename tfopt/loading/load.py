"""`load()`: a `.keras` or `.h5` file or a SavedModel folder, written by any Keras, becomes a model."""

import contextlib
import pathlib
import shutil
import tempfile

from tfopt.errors import LoadError
from tfopt.keras2 import door
from tfopt.loading import architecture as architectures
from tfopt.loading import float32, model_file, safety
from tfopt.loading.custom_objects import by_name, registered_names
from tfopt.loading.h5 import keras2, reachable, weights
from tfopt.loading.h5.weight_groups import is_new_layout, read_groups, require_all_in
from tfopt.loading.options import LoadOptions
from tfopt.loading.saved_model import load_saved_model


def load(path, *, custom_objects=None, architecture=None, allow_unsafe=False):
    """Loads a model for inference, with the Keras generation that wrote it. Nothing in the file runs before it was looked at.

    Example:

    ```python
    model = tfopt.load("model.h5")
    model = tfopt.load("model.keras", custom_objects={"Swish2": Swish2})
    model = tfopt.load("weights.h5", architecture="my_models:build")
    ```

    Args:
        path: str or path of a `.keras` file, an `.h5` / `.hdf5` file of Keras 1 to 3, or a SavedModel folder.
        custom_objects: None, a dict of name -> class or function, or the path of a Python file that defines them
            (the file is run; a dict named `custom_objects` in it adds names that Python cannot have, as "<lambda>"). The name of
            a `Lambda` layer, or of a layer whose activation is a `<lambda>`, gives that layer its function.
        architecture: None, or for a file that holds weights only "module:function", "file.py:function" or a function: called
            without arguments, it builds the model.
        allow_unsafe: bool. Whether Python bytecode that the file holds (`Lambda` layers) may be run. Only for files whose
            writer you trust.

    Returns:
        A `keras.Model`. A file that Keras 1 or 2 wrote becomes a `tf_keras.Model`, since Keras 3 misreads some of them.
        Layers that computed in float16 or bfloat16 compute in float32.

    Raises:
        ArgumentError: an option has a value that cannot be used.
        LoadError: the file is missing, damaged, without an architecture, or needs a class that was not given.
        UnsafeModelError: the file holds code, and `allow_unsafe` is false.
    """
    options = LoadOptions(custom_objects=custom_objects, architecture=architecture, allow_unsafe=allow_unsafe)
    return load_with_steps(path, options)[0]


def load_with_steps(path, options):
    """As `load`, and tells what was done.

    Args:
        path: as for `load`.
        options: a `LoadOptions`.

    Returns:
        (model, tuple of str): who wrote and who read the file, each repair, and what was verified.
    """
    found = model_file.read(path)
    custom_objects = by_name(options.custom_objects)
    if found.kind == "saved_model":
        if not options.allow_unsafe:
            safety.require_safe(found)
        return load_saved_model(found.path), ("read with TensorFlow: a SavedModel",)
    if options.architecture is not None or found.kind == "weights":
        return _load_weights(found, options.architecture)
    if found.kind == "h5" and not found.written_by_keras_3:
        with _named_by_kind(found) as named:
            return keras2.load(found, named, custom_objects, allow_unsafe=options.allow_unsafe)
    return _load_whole(found, custom_objects, options.allow_unsafe)


def _load_whole(found, custom_objects, allow_unsafe):
    """A `.keras` file of either generation, or an `.h5` of Keras 3: its own Keras reads all of it."""
    if not allow_unsafe:
        safety.require_safe(found, custom_objects={*custom_objects, *registered_names(found)})
    custom_objects = model_file.add_registered_names(found.config, custom_objects)
    try:
        with _named_by_kind(found) as named:
            if found.written_by_keras_3:
                import keras

                reader = f"Keras {keras.__version__}"
                model = keras.saving.load_model(named, custom_objects=custom_objects, compile=False, safe_mode=not allow_unsafe)
            else:
                reachable.require_followable(found.config)
                reader = f"tf_keras {door.version()}"
                model = door.load_model(named, custom_objects=custom_objects, safe_mode=not allow_unsafe)
    except Exception as error:  # Whatever a reader makes of a damaged file, the user gets one clear message.
        raise model_file.unreadable(found, error) from error
    steps = [f"read with {reader}: written by Keras {found.keras_version}"]
    if found.kind == "h5":
        count = weights.assign(model, read_groups(found.path), found.path)
        steps.append(f"verified: {count} of {count} weights assigned once")
    if float32.low_precision_layers(model):
        kinds = sorted({layer.compute_dtype for layer in float32.low_precision_layers(model)})
        steps.append(f"repaired: rebuilt under float32: layers computed in {', '.join(kinds)}")
        model = float32.as_float32(model)
    return model, tuple(steps)


def _load_weights(found, architecture):
    """A file of which only the weights are taken, into a model that the user's function builds."""
    if architecture is None:
        raise model_file.refusal(
            found.path,
            "an HDF5 file with weights only",
            "Give the function that builds the model with --architecture MODULE:FUNCTION (Python: architecture=function), for "
            "example my_models:build, in whose file `def build(): return keras.Sequential([...])`.",
        )
    model = architectures.build(architecture)
    steps = [f"built by {architectures.name_of(architecture)}, weights from a file of Keras {found.keras_version or '(unknown)'}"]
    if found.kind == "keras":
        raise LoadError(
            f"`architecture` belongs to an HDF5 file. Received: {found.path}, a `.keras` archive. Leave `architecture` out: the "
            "archive has its own."
        )
    if is_new_layout(found.path):
        count = _load_new_layout(found, model)
    else:
        writer = weights.Writer(is_keras_1=found.keras_version.startswith("1."), is_theano=found.backend == "theano")
        count = weights.assign(model, read_groups(found.path), found.path, writer, by_order=True)
    steps.append(f"verified: {count} of {count} weights assigned once")
    return float32.as_float32(model), tuple(steps)


def _load_new_layout(found, model):
    with tempfile.TemporaryDirectory(prefix="tfopt-") as folder:
        named = pathlib.Path(folder) / "model.weights.h5"  # the ending by which Keras knows the layout
        shutil.copyfile(found.path, named)
        try:
            model.load_weights(str(named))
        except Exception as error:
            raise LoadError(
                f"The architecture must be that of the weights. Received: {found.path}: {model_file.first_lines(error)} "
                "Give the function that built the model which was saved."
            ) from error
    return require_all_in(found.path, model)


@contextlib.contextmanager
def _named_by_kind(found):
    """Yields a path of the file whose ending tells its kind, as Keras goes by names."""
    suffixes = (".keras",) if found.kind == "keras" else (".h5", ".hdf5")
    if found.path.suffix in suffixes:
        yield str(found.path)
        return
    with tempfile.TemporaryDirectory(prefix="tfopt-") as folder:
        named = pathlib.Path(folder) / f"model{suffixes[0]}"
        shutil.copyfile(found.path, named)
        yield str(named)
