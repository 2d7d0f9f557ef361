"""A second opinion on a file that Keras 2 wrote: whether Keras 3 reads it, and whether both models compute the same."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfopt.data import signature

if TYPE_CHECKING:
    import keras

    from tfopt.loading.load import Rows

Array = npt.NDArray[Any]

# Models of more parameters are not read twice: the second reading takes as long as the first.
_LIMIT = 5_000_000
# Sizes that a model leaves open in made-up inputs: of images, and of others. A model that crops needs more than the first.
_SIZES = ((64, 16), (160, 64), (320, 256))
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


def second_opinion(model: Any, path: str, rows: Rows | None = None, *, tolerance: float) -> str:
    """Reads the file with Keras 3 too and compares the outputs. Only for files that hold no code.

    Example: `second_opinion(model, "model.h5", tolerance=1e-3)` -> "Keras 3 gives the same outputs (max difference 1e-07) on ..."

    Args:
        model: the `tf_keras.Model` that was read from the file.
        path: of the `.h5` file.
        rows: samples of the user's data, on which both models run; None (default) for made-up inputs of a few sizes.
        tolerance: greatest difference between equal outputs, relative to the largest output or to 1 if all are smaller.

    Returns:
        A clause about the comparison, which tells what it was made on.
    """
    import tensorflow as tf

    if model.count_params() > _LIMIT:
        return f"not compared with Keras 3: more than {_LIMIT:,} parameters"
    refusals = (*_REFUSALS, tf.errors.OpError)
    tried: tuple[list[Array], Exception] | None = None
    arrays: list[Array] | None
    for arrays in _made_up(model) if rows is None else (_as_inputs(model, rows),):
        if arrays is None:
            if rows is not None:
                return "not compared with Keras 3: the inputs of the model are not those of the data"
            continue
        try:
            expected = _outputs(model, arrays)
            break
        except refusals as error:
            tried = arrays, error
    else:
        if tried is None:
            return "not compared with Keras 3: the inputs have no known shape, are too large or are not numbers"
        where = _where(tried[0], rows)
        way_out = "" if rows is not None else "; data of yours (--calibrate DATA, --data DATA) are compared in their place"
        return f"not compared with Keras 3: the model does not run on {where} ({_line(tried[1])}){way_out}"
    where = _where(arrays, rows)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of Keras 3 about old files do not concern the user
            outputs = _outputs(_read_with_keras_3(path), arrays)
    except refusals as error:
        return f"Keras 3 does not read it ({_line(error)})"
    if [output.shape for output in outputs] != [output.shape for output in expected]:
        shapes = ", ".join(str(output.shape) for output in outputs)
        return f"Keras 3 would read it wrong (outputs of shape {shapes} on {where}), tf_keras is used"
    return _judge(outputs, expected, where, tolerance)


def _judge(outputs: list[Array], expected: list[Array], where: str, tolerance: float) -> str:
    pairs = [(output.astype("float64"), wanted.astype("float64")) for output, wanted in zip(outputs, expected, strict=True)]
    if any(not np.array_equal(np.isfinite(output), np.isfinite(wanted)) for output, wanted in pairs):
        return f"Keras 3 would read it wrong (other outputs are NaN or infinite on {where}), tf_keras is used"
    finite = [(output[np.isfinite(wanted)], wanted[np.isfinite(wanted)]) for output, wanted in pairs]
    count, total = sum(wanted.size for _, wanted in finite), sum(wanted.size for _, wanted in pairs)
    if not count:
        return f"not compared with Keras 3: all outputs are NaN or infinite on {where}"
    difference = max(float(np.max(np.abs(output - wanted), initial=0)) for output, wanted in finite)
    scale = max(1.0, *(float(np.max(np.abs(wanted), initial=0)) for _, wanted in finite))
    if not difference <= tolerance * scale:
        return f"Keras 3 would read it wrong (max difference {difference:.2g} on {where}), tf_keras is used"
    part = "" if count == total else f"; {total - count:,} of {total:,} values are NaN or infinite"
    return f"Keras 3 gives the same outputs (max difference {difference:.1g}) on {where}{part}"


def _where(arrays: list[Array], rows: Rows | None) -> str:
    """The inputs, in words."""
    count, shapes = len(arrays[0]), " and ".join(str(array.shape[1:]) for array in arrays)
    inputs = "an input" if len(arrays) == 1 else "inputs"
    if rows is not None:
        return f"{min(count, min(map(len, rows.values())))} of the given samples, {inputs} of shape {shapes}"
    return f"{count} made-up samples, {inputs} of shape {shapes}"


def _read_with_keras_3(path: str) -> keras.Model:
    import keras

    return keras.saving.load_model(path, compile=False, safe_mode=True)


def _as_inputs(model: Any, rows: Rows) -> list[Array] | None:
    """Samples in the order, the dtypes and the batch size of the model's inputs; None if they do not fit."""
    arrays = []
    for tensor, spec in zip(signature.named_tensors(model, "inputs"), signature.input_specs(model), strict=True):
        if spec.name not in rows or len(rows[spec.name]) == 0:
            return None
        given = np.asarray(rows[spec.name])
        batch = tensor.shape[0] or len(given)
        arrays.append(given[np.arange(batch) % len(given)].astype(tensor.dtype.as_numpy_dtype))
    return arrays or None


def _made_up(model: Any) -> Iterator[list[Array] | None]:
    """Yields seeded inputs for the sizes that a model may leave open, small ones first."""
    for sizes in _SIZES:
        yield _made_up_of(model, *sizes)


def _made_up_of(model: Any, image: int, other: int) -> list[Array] | None:
    """Seeded arrays for the model's inputs: 0 and 1 if they choose rows of an embedding. None if there is no such array."""
    rng = np.random.default_rng(0)
    indices = any(type(layer).__name__ == "Embedding" for layer in model.submodules if hasattr(layer, "get_config"))
    arrays = []
    for tensor in signature.named_tensors(model, "inputs"):
        if tensor.shape.rank is None:
            return None
        shape = tensor.shape.as_list()
        shape = [2 if shape[0] is None else shape[0], *(size or (image if len(shape) == 4 else other) for size in shape[1:])]
        if np.prod(shape, dtype=float) > 4e6:
            return None
        dtype = tensor.dtype.as_numpy_dtype
        if np.dtype(dtype).kind not in "fiub":
            return None
        arrays.append(
            (rng.integers(0, 2, shape) if indices or np.dtype(dtype).kind != "f" else rng.normal(size=shape)).astype(dtype)
        )
    return arrays or None


def _outputs(model: Any, arrays: list[Array]) -> list[Array]:
    outputs = model(arrays if len(arrays) > 1 else arrays[0], training=False)
    if isinstance(outputs, dict):
        outputs = [outputs[name] for name in sorted(outputs)]
    return [np.asarray(output) for output in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]


def _line(error: Exception, limit: int = 120) -> str:
    text = " ".join((str(error) or type(error).__name__).split())
    return text if len(text) <= limit else f"{text[:limit]} ..."
