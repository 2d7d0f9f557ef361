"""What goes into a model and what comes out: names, shapes, dtypes, in the model's own order."""

import dataclasses
import re

from tfopt.errors import ArgumentError


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: str.
        shape: tuple of int or None, the batch size first. None is a size that the model leaves open.
        dtype: str, a NumPy dtype name.
    """

    name: str
    shape: tuple
    dtype: str

    def __str__(self):
        return f"{self.name} {self.dtype}({', '.join('?' if size is None else str(size) for size in self.shape)})"


def input_specs(model, input_shapes=None):
    """The inputs of a model.

    Args:
        model: a Keras 3 or Keras 2 model.
        input_shapes: None or dict of input name -> shape with batch, for sizes that the model leaves open; for a model that
            names no inputs (a subclassed one), the shapes of all its inputs.

    Returns:
        list of `TensorSpec`; sizes that nobody gave are None.

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
    specs = [TensorSpec(_plain(tensor.name), tuple(tensor.shape), _dtype(tensor)) for tensor in tensors]
    for spec in specs:
        if not re.fullmatch("(float|bfloat|int|uint)[0-9]+|bool", spec.dtype):
            raise ArgumentError(f"Every input must be numbers. Received: {spec}. Move what reads it out of the model.")
    unknown = sorted(set(given) - {spec.name for spec in specs})
    if unknown:
        raise ArgumentError(
            f"`input_shapes` must name inputs of the model. Received: {unknown}. The inputs are {[spec.name for spec in specs]}."
        )
    return [_merge(spec, given.get(spec.name)) for spec in specs]


def named_tensors(model, which):
    """The symbolic tensors of a model's "inputs" or "outputs"; empty where it has none of its own (a subclassed model)."""
    return getattr(model, which, None) or []  # Keras 3 raises AttributeError where Keras 2 has None


def output_names(model):
    """Names of the model's outputs in its own order; None where the model does not say how many there are."""
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


def fix_sizes(specs, batch_size, sample_shapes=None):
    """Fills in every open size: the batch from `batch_size`, the rest from a sample.

    Args:
        specs: list of `TensorSpec`.
        batch_size: int, >= 1.
        sample_shapes: None or dict of input name -> shape of one sample, without batch.

    Returns:
        list of `TensorSpec` without None.

    Raises:
        ArgumentError: a size is still open, or the batch contradicts the model.
    """
    fixed = []
    for spec in specs:
        batch, *rest = spec.shape
        if batch not in (None, batch_size):
            raise ArgumentError(
                f"`batch_size` must be {batch}, which the shape of input {spec.name!r} prescribes. Received: {batch_size}."
            )
        sample = (sample_shapes or {}).get(spec.name, ())
        if len(sample) == len(rest):
            rest = [seen if size is None else size for size, seen in zip(rest, sample, strict=True)]
        if None in rest:
            example = ",".join("1" if index == 0 else str(size or 32) for index, size in enumerate(spec.shape))
            raise ArgumentError(
                f"Every size of an input but the batch must be known. Received: {spec}. "
                f"Give it, for example --input-shape {spec.name}={example} (Python: input_shapes={{{spec.name!r}: ({example})}})."
            )
        fixed.append(TensorSpec(spec.name, (batch_size, *rest), spec.dtype))
    return fixed


def _merge(spec, shape):
    if shape is None:
        return spec
    agrees = 0 < len(shape) == len(spec.shape) and all(
        own in (None, size) for own, size in zip(spec.shape[1:], shape[1:], strict=True)
    )
    if not agrees or any(size is not None and size < 1 for size in shape):
        raise ArgumentError(f"The shape of an input, with batch, must fit {spec}. Received: {shape}.")
    batch = shape[0] if spec.shape[0] is None else spec.shape[0]
    return TensorSpec(spec.name, (batch, *shape[1:]), spec.dtype)


def _plain(name):
    return name.split(":")[0].replace("/", "_")


def _dtype(tensor):
    return getattr(tensor.dtype, "name", tensor.dtype)
