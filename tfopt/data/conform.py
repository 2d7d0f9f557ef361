"""A sample in the shapes and dtypes of the model's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tfopt.data.signature import TensorSpec
from tfopt.errors import DataError


def conform(
    inputs: Mapping[str, Any], specs: Sequence[TensorSpec], index: int, notes: dict[str, None]
) -> dict[str, npt.NDArray[Any]]:
    """Converts one sample to the dtypes of the model's inputs.

    Example: `conform({"image": pixels}, specs, index=0, notes={})`

    Args:
        inputs: array by input name, without batch dimension.
        specs: the model's inputs, without dimensions of None.
        index: the sample's position in the data, for messages.
        notes: its keys collect the conversions that a user should know about.

    Returns:
        Array by input name, each of the shape and dtype of its input.

    Raises:
        DataError: wrong shape or dtype, NaN or infinity.
    """
    for spec in specs:
        if np.shape(inputs[spec.name]) != spec.shape[1:]:
            shapes = {name: np.shape(array) for name, array in inputs.items()}
            raise DataError(wrong_shape(shapes, spec, specs, f"{shapes[spec.name]} in sample {index}"))
    return {spec.name: _converted(np.asarray(inputs[spec.name]), spec, index, notes) for spec in specs}


def _converted(value: npt.NDArray[Any], spec: TensorSpec, index: int, notes: dict[str, None]) -> npt.NDArray[Any]:
    wanted = np.dtype(spec.dtype)
    if value.dtype.kind not in "fiub" and value.dtype != wanted and value.dtype.name != "bfloat16":
        raise DataError(f"Input {spec.name!r} must be numbers ({spec.dtype}). Received: {value.dtype} in sample {index}.")
    if value.dtype.kind not in "iub" and not np.isfinite(value).all():
        raise DataError(f"Input {spec.name!r} must be finite. Received: NaN or infinity in sample {index}. Clean the data first.")
    if value.dtype == wanted:
        return value
    if wanted.kind in "iu" and value.dtype.kind == "f" and (value != np.floor(value)).any():
        raise DataError(
            f"Input {spec.name!r} needs whole numbers ({spec.dtype}). Received: fractions in sample {index}. Convert the data."
        )
    if value.dtype.kind in "iub" or wanted.kind in "iu":
        notes[f"input {spec.name!r}: {value.dtype} data were converted to {wanted}"] = None
    with np.errstate(over="ignore", invalid="ignore"):
        converted = value.astype(wanted)
    kept = np.isfinite(converted) if wanted.kind == "f" else converted.astype(np.float64) == value.astype(np.float64)
    if not kept.all():
        raise DataError(
            f"Input {spec.name!r} must fit into {wanted}. Received: values from {value.min()} to {value.max()} in sample {index}."
        )
    return converted


def wrong_shape(shapes: Mapping[str, tuple[int, ...]], spec: TensorSpec, specs: Sequence[TensorSpec], received: str) -> str:
    """The message for samples of a wrong shape.

    Args:
        shapes: shape of a sample by input name.
        spec: the input whose shape is wrong.
        specs: all inputs.
        received: the wrong shape, and where it was found.
    """
    needed = spec.shape[1:]
    text = f"A sample of input {spec.name!r} must have the shape {needed}. Received: {received}."
    if (*shapes[spec.name], 1) == needed:
        return f"{text} Add the channel: x[..., None]."
    wanted = [tuple(size or 0 for size in other.shape[1:]) for other in specs]
    if len(specs) > 1 and sorted(shapes.values()) == sorted(wanted):
        return f"{text} The arrays are in another order than the inputs {[other.name for other in specs]}: give a dict by name."
    return f"{text} Prepare the data as for training."
