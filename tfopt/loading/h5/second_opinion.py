"""A second opinion on a file that Keras 2 wrote: what Keras 3 makes of it, and whether both compute the same."""

import warnings

import numpy as np

from tfopt.data import signature

# Models of more parameters are not read twice: it would cost as much again.
_LIMIT = 5_000_000
_TOLERANCE = 1e-3
# What Keras 3 and TensorFlow raise at configurations that they do not understand.
_REFUSALS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    OSError,
    AssertionError,
    ImportError,
)


def second_opinion(model, path, *, tolerance=_TOLERANCE):
    """Reads the file with Keras 3 too and compares the outputs. Only for files that hold no code.

    Args:
        model: the `tf_keras.Model` that was read from the file.
        path: str, the `.h5` file.
        tolerance: float, by how much of the largest output the two may differ.

    Returns:
        str, what came out.
    """
    import tensorflow as tf

    if model.count_params() > _LIMIT:
        return f"not compared with Keras 3: more than {_LIMIT:,} parameters"
    arrays = _inputs(model)
    if arrays is None:
        return "not compared with Keras 3: the inputs' shapes are not known"
    refusals = (*_REFUSALS, tf.errors.OpError)
    try:
        expected = _outputs(model, arrays)
    except refusals as error:
        return f"not compared with Keras 3: the model does not run on a made-up input ({_line(error)})"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Keras 3 thinks of old files is no matter of the user's
            outputs = _outputs(_read_with_keras_3(path), arrays)
    except refusals as error:
        return f"Keras 3 does not read it ({_line(error)})"
    if [output.shape for output in outputs] != [output.shape for output in expected]:
        shapes = ", ".join(str(output.shape) for output in outputs)
        return f"Keras 3 would read it wrong (outputs of shape {shapes}), tf_keras is used"
    pairs = [(output.astype("float64"), wanted.astype("float64")) for output, wanted in zip(outputs, expected, strict=True)]
    difference = max((float(np.max(np.abs(output - wanted), initial=0)) for output, wanted in pairs), default=0.0)
    scale = max(1.0, *(float(np.max(np.abs(wanted), initial=0)) for _, wanted in pairs))
    if not difference <= tolerance * scale:
        return f"Keras 3 would read it wrong (max difference {difference:.2g}), tf_keras is used"
    return f"Keras 3 gives the same outputs (max difference {difference:.1g})"


def _read_with_keras_3(path):
    import keras

    return keras.saving.load_model(path, compile=False, safe_mode=True)


def _inputs(model):
    """Seeded arrays for the model's inputs; whole numbers, all small, where they choose rows of an embedding."""
    rng = np.random.default_rng(0)
    indices = any(type(layer).__name__ == "Embedding" for layer in model.submodules if hasattr(layer, "get_config"))
    arrays = []
    for tensor in signature.named_tensors(model, "inputs"):
        shape = tensor.shape.as_list()
        shape = [2 if shape[0] is None else shape[0], *(size or (64 if len(shape) == 4 else 16) for size in shape[1:])]
        if np.prod(shape, dtype=float) > 4e6:
            return None
        dtype = tensor.dtype.as_numpy_dtype
        if np.dtype(dtype).kind not in "fiub":
            return None
        arrays.append(
            (rng.integers(0, 2, shape) if indices or np.dtype(dtype).kind != "f" else rng.normal(size=shape)).astype(dtype)
        )
    return arrays or None


def _outputs(model, arrays):
    outputs = model(arrays if len(arrays) > 1 else arrays[0], training=False)
    if isinstance(outputs, dict):
        outputs = [outputs[name] for name in sorted(outputs)]
    return [np.asarray(output) for output in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]


def _line(error, limit=120):
    text = " ".join((str(error) or type(error).__name__).split())
    return text if len(text) <= limit else f"{text[:limit]} ..."
