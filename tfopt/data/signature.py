"""Inputs and outputs of a model: names, shapes and dtypes, in the model's own order."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tfopt.errors import ArgumentError


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: with "_" in place of "/".
        shape: batch size first; None stands for a dimension that the model leaves open.
        dtype: name of a NumPy dtype.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}({', '.join('?' if size is None else str(size) for size in self.shape)})"


def input_specs(model: Any, input_shapes: Mapping[str, Sequence[int | None]] | None = None) -> list[TensorSpec]:
    """The inputs of a model.

    Example: `input_specs(model, {"image": (1, 224, 224, 3)})`

    Args:
        model: a Keras 3 or Keras 2 model.
        input_shapes: shape with batch by input name, for dimensions that the model leaves open; for a model that names no inputs
            (a subclassed model), the shapes of all its inputs.

    Returns:
        One spec for each input; dimensions that are open and not given are None.

    Raises:
        ArgumentError: a name is unknown or a shape contradicts the model.
    """
    given = {name: tuple(shape) for name, shape in (input_shapes or {}).items()}
    tensors = named_tensors(model, "inputs")
    if not tensors:
        if not given:
            raise ArgumentError(
                "The model's input shapes must be known. Received: a model that has none of its own (a subclassed model). "
                "Give them with --input-shape NAME=1,28,28,1 (Python: input_shapes={...})."
            )
        open_specs = [TensorSpec(name, (*shape[:1], *[None] * (len(shape) - 1)), "float32") for name, shape in given.items()]
        return [_merge(spec, given[spec.name]) for spec in open_specs]
    specs = [TensorSpec(_plain(tensor.name), _shape(tensor), _dtype(tensor)) for tensor in tensors]
    for spec, tensor in zip(specs, tensors, strict=True):
        if not re.fullmatch("(float|bfloat|int|uint)[0-9]+|bool", spec.dtype):
            readers = _readers(model, tensor)
            layer = readers[0] if readers else "NAME"
            where = f", which is read by {', '.join(map(repr, readers))}" if readers else ""
            raise ArgumentError(
                f"Every input must be numbers. Received: {spec}{where}. Compute such layers around the file: before, body, after = "
                f"tfopt.split(model, at=({layer!r}, None)) cuts a Functional model after a layer, and the body converts."
            )
    unknown = sorted(set(given) - {spec.name for spec in specs})
    if unknown:
        raise ArgumentError(
            f"`input_shapes` must name inputs of the model. Received: {unknown}. The inputs are {[spec.name for spec in specs]}."
        )
    return [_merge(spec, given.get(spec.name)) for spec in specs]


def named_tensors(model: Any, which: Literal["inputs", "outputs"]) -> list[Any]:
    """The symbolic tensors of a model's inputs or outputs; an empty list if it has none of its own (a subclassed model)."""
    return getattr(model, which, None) or []  # Keras 3 raises AttributeError where Keras 2 has None


def output_names(model: Any) -> list[str] | None:
    """Names of a Keras model's outputs in its own order; None if the number of outputs is unknown (a subclassed model)."""
    outputs = named_tensors(model, "outputs")
    if not outputs:
        return None
    structure = getattr(model, "output", None)
    # TensorFlow and Keras flatten a dict in the order of its sorted keys.
    keys = sorted(structure) if isinstance(structure, dict) and all(isinstance(key, str) for key in structure) else None
    names = [_plain(name) for name in keys or getattr(model, "output_names", None) or ()]
    if not names and len(outputs) == 1:
        names = [_plain(model.layers[-1].name)]
    if len(set(names)) != len(outputs):
        return [f"output_{index}" for index in range(len(outputs))]
    return names


def fix_sizes(
    specs: Sequence[TensorSpec], batch_size: int, sample_shapes: Mapping[str, tuple[int, ...]] | None = None
) -> list[TensorSpec]:
    """Fills in every dimension of None: the batch from `batch_size`, the others from a sample.

    Example: `fix_sizes([TensorSpec("x", (None, None, 3), "float32")], 1, {"x": (20, 3)})` -> x float32(1, 20, 3)

    Args:
        specs: the model's inputs.
        batch_size: >= 1.
        sample_shapes: shape of one sample by input name, without batch.

    Returns:
        The specs without None.

    Raises:
        ArgumentError: a dimension is still None, or the batch size contradicts the model.
    """
    fixed = []
    for spec in specs:
        batch, *rest = spec.shape
        if batch not in (None, batch_size):
            raise ArgumentError(
                f"`batch_size` must be {batch}, which the shape of input {spec.name!r} prescribes. Received: {batch_size}."
            )
        sample = sample_shapes.get(spec.name, ()) if sample_shapes else ()
        if len(sample) == len(rest):
            rest = [seen if size is None else size for size, seen in zip(rest, sample, strict=True)]
        if None in rest:
            example = ",".join("1" if index == 0 else str(size or 32) for index, size in enumerate(spec.shape))
            raise ArgumentError(
                f"Every dimension of an input except the batch must be known. Received: {spec}. "
                f"Give it, for example --input-shape {spec.name}={example} (Python: input_shapes={{{spec.name!r}: ({example})}})."
            )
        fixed.append(TensorSpec(spec.name, (batch_size, *rest), spec.dtype))
    return fixed


def _shape(tensor: Any) -> tuple[int | None, ...]:
    if getattr(tensor.shape, "rank", 0) is None:  # of Keras 2
        raise ArgumentError(
            f"Every input must have a known number of dimensions. Received: {_plain(tensor.name)!r}, a tensor of any shape. Give "
            "the input a shape where the model is built, keras.Input(shape=...)."
        )
    return tuple(tensor.shape)


def _merge(spec: TensorSpec, shape: tuple[int | None, ...] | None) -> TensorSpec:
    if shape is None:
        return spec
    agrees = 0 < len(shape) == len(spec.shape) and all(
        own in (None, size) for own, size in zip(spec.shape[1:], shape[1:], strict=True)
    )
    if not agrees or any(size is not None and size < 1 for size in shape):
        raise ArgumentError(f"The shape of an input, with batch, must fit {spec}. Received: {shape}.")
    batch = shape[0] if spec.shape[0] is None else spec.shape[0]
    return TensorSpec(spec.name, (batch, *shape[1:]), spec.dtype)


def _readers(model: Any, tensor: Any) -> list[str]:
    """Names of the layers that read an input of a model."""
    found = []
    for layer in model.layers:
        try:
            given = layer.input
        except (AttributeError, ValueError):  # never called, or called several times
            continue
        given = given if isinstance(given, list | tuple) else [given]
        if any(each is tensor for each in given) and not any(each is layer.output for each in given):
            found.append(layer.name)
    return found


def _plain(name: str) -> str:
    return name.split(":")[0].replace("/", "_")


def _dtype(tensor: Any) -> str:
    return getattr(tensor.dtype, "name", tensor.dtype)
