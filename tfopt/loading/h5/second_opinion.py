"""A second opinion on a file that Keras 2 wrote: whether Keras 3 reads it, and whether both models compute the same."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfopt.data import signature

if TYPE_CHECKING:
    import keras

# Models of more parameters are not read twice: the second reading takes as long as the first.
_LIMIT = 5_000_000
# Keras 3 and TensorFlow raise these exceptions for configurations that they do not understand.
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


def second_opinion(model: Any, path: str, *, tolerance: float) -> str:
    """Reads the file with Keras 3 too and compares the outputs. Only for files that hold no code.

    Example: `second_opinion(model, "model.h5", tolerance=1e-3)` -> "Keras 3 gives the same outputs (max difference 1e-07)"

    Args:
        model: the `tf_keras.Model` that was read from the file.
        path: of the `.h5` file.
        tolerance: greatest difference between equal outputs, relative to the largest output or to 1 if all are smaller.

    Returns:
        A clause about the comparison.
    """
    import tensorflow as tf

    if model.count_params() > _LIMIT:
        return f"not compared with Keras 3: more than {_LIMIT:,} parameters"
    arrays = _inputs(model)
    if arrays is None:
        return "not compared with Keras 3: the inputs have no known shape, are too large or are not numbers"
    refusals = (*_REFUSALS, tf.errors.OpError)
    try:
        expected = _outputs(model, arrays)
    except refusals as error:
        return f"not compared with Keras 3: the model does not run on a made-up input ({_line(error)})"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of Keras 3 about old files do not concern the user
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


def _read_with_keras_3(path: str) -> keras.Model:
    import keras

    return keras.saving.load_model(path, compile=False, safe_mode=True)


def _inputs(model: Any) -> list[npt.NDArray[Any]] | None:
    """Seeded arrays for the model's inputs: 0 and 1 if they choose rows of an embedding. None if there is no such array."""
    rng = np.random.default_rng(0)
    indices = any(type(layer).__name__ == "Embedding" for layer in model.submodules if hasattr(layer, "get_config"))
    arrays = []
    for tensor in signature.named_tensors(model, "inputs"):
        if tensor.shape.rank is None:
            return None
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


def _outputs(model: Any, arrays: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    outputs = model(arrays if len(arrays) > 1 else arrays[0], training=False)
    if isinstance(outputs, dict):
        outputs = [outputs[name] for name in sorted(outputs)]
    return [np.asarray(output) for output in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]


def _line(error: Exception, limit: int = 120) -> str:
    text = " ".join((str(error) or type(error).__name__).split())
    return text if len(text) <= limit else f"{text[:limit]} ..."
