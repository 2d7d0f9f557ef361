"""`load()`: a `.keras` or `.h5` file or a SavedModel folder, written by any Keras, becomes a model."""

import contextlib
import importlib.util
import inspect
import pathlib
import shutil
import sys
import tempfile

from tfopt import legacy
from tfopt.conversion import model_file, safety
from tfopt.errors import LoadError


def load(path, *, custom_objects=None, allow_unsafe=False):
    """Loads a model for inference, with the Keras generation that wrote it. Nothing in the file runs before it was looked at.

    Example:

    ```python
    model = tfopt.load("model.h5")
    model = tfopt.load("model.keras", custom_objects={"Swish2": Swish2})
    ```

    Args:
        path: str or path of a `.keras` file, an `.h5` / `.hdf5` file, or a SavedModel folder.
        custom_objects: None, a dict of name -> class or function, or the path of a Python file that defines them
            (the file is run).
        allow_unsafe: bool. Whether Python bytecode that the file holds (`Lambda` layers) may be run. Only for files whose
            writer you trust.

    Returns:
        A `keras.Model`. A file that Keras 2 wrote becomes a `tf_keras.Model`, since Keras 3 misreads some of them.

    Raises:
        LoadError: the file is missing, damaged, without an architecture, or needs a class that was not given.
        UnsafeModelError: the file holds code, and `allow_unsafe` is false.
    """
    found = model_file.read(path)
    if not (custom_objects is None or isinstance(custom_objects, dict)):
        custom_objects = read_custom_objects(custom_objects)
    if not allow_unsafe:
        safety.require_safe(found, custom_objects={*(custom_objects or ()), *_registered_names(found)})
    if found.kind == "saved_model":
        return _load_saved_model(found.path)
    custom_objects = model_file.add_registered_names(found.config, custom_objects or {})
    try:
        with _named_by_kind(found) as named:
            if found.written_by_keras_3:
                import keras

                return keras.saving.load_model(named, custom_objects=custom_objects, compile=False, safe_mode=not allow_unsafe)
            return legacy.load_model(named, custom_objects=custom_objects, safe_mode=not allow_unsafe)
    except Exception as error:  # Whatever a reader makes of a damaged file, the user gets one clear message.
        raise LoadError(
            f"The model file must be readable by Keras. Received: {path}, written by Keras {found.keras_version or '(unknown)'}: "
            f"{_first_lines(error)} Custom classes and functions are given with --custom-objects FILE.py "
            "(Python: custom_objects={...})."
        ) from error


def read_custom_objects(path):
    """Runs the Python file at `path` and returns the classes and functions that it defines, by name.

    Args:
        path: str or path of a `.py` file. It may import modules that lie beside it.

    Returns:
        dict of str -> class or function.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise LoadError(f"`custom_objects` must be a dict or a Python file. Received: {path}. Check the path.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None:
        raise LoadError(f"`custom_objects` must be a dict or a Python file. Received: {path}. Name it `something.py`.")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise LoadError(f"The custom objects file must run. Received: {path}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    return {
        name: value
        for name, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == path.stem
    }


def _registered_names(found):
    if found.kind != "saved_model" and not found.written_by_keras_3:
        return legacy.registered_names()
    import keras

    return set(keras.saving.get_custom_objects())


def _load_saved_model(path):
    import keras
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
        endpoint = "serving_default" if "serving_default" in loaded.signatures else next(iter(loaded.signatures), "")
        if not endpoint:
            raise ValueError("it has no signature to call")
        specs = loaded.signatures[endpoint].structured_input_signature[1]
        inputs = {
            name: keras.Input(batch_shape=spec.shape.as_list(), dtype=spec.dtype.name, name=name)
            for name, spec in sorted(specs.items())
        }
        outputs = _signature_layer(loaded, endpoint)(inputs)
        return keras.Model(inputs if len(inputs) > 1 else next(iter(inputs.values())), outputs)
    except Exception as error:  # as above: a damaged folder raises anything
        raise LoadError(
            f"The SavedModel folder must be loadable and have a signature. Received: {path}: {_first_lines(error)} "
            "Write it with `model.export(path)`."
        ) from error


def _signature_layer(loaded, endpoint):
    # keras.layers.TFSMLayer cannot call a signature of several inputs: signatures take their tensors by name.
    import keras

    class SavedModel(keras.layers.Layer):
        def call(self, inputs):
            outputs = loaded.signatures[endpoint](**inputs)
            return {name: outputs[name] for name in sorted(outputs)}

    return SavedModel(name="saved_model", trainable=False)


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


def _first_lines(error, limit=400):
    # Keras wraps one error in another; the innermost, last one is the cause.
    text = " ".join(str(error).rpartition("Exception encountered:")[2].split()) or type(error).__name__
    return text if len(text) <= limit else f"{text[:limit]} ..."
