"""The reference of a TFLite file, a Keras model or another file, with its inputs and outputs matched with those of the file."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfopt.data import signature
from tfopt.data.signature import TensorSpec
from tfopt.errors import ArgumentError, ConversionError, DataError, RunError
from tfopt.loading.load import Loaded, load_file
from tfopt.loading.options import LoadOptions
from tfopt.lowering.trace import Traced, trace_model
from tfopt.tflite.file import is_tflite
from tfopt.tflite.interpreter import Interpreter

if TYPE_CHECKING:
    import keras

Batch = dict[str, npt.NDArray[np.generic]]
"""Array (batch size, ...) by input of the file."""

Reference = Callable[[Batch], Sequence[npt.NDArray[np.generic]]]
"""A function from a batch to the right outputs, in the file's order."""


@dataclasses.dataclass(frozen=True)
class KerasReference:
    """A Keras model whose inputs are matched with the inputs of a TFLite file.

    Attributes:
        model: of either Keras generation.
        specs: inputs of the model, with the sizes of the file.
        pairs: input of the model by input of the file.
    """

    model: keras.Model
    specs: list[TensorSpec]
    pairs: dict[str, str]

    @functools.cached_property
    def traced(self) -> Traced:
        """The model as one function."""
        return trace_model(self.model, self.specs)

    def batch_of_model(self, arrays: Batch) -> Batch:
        """A batch of the file under the names of the model's inputs."""
        return {self.pairs[name]: array for name, array in arrays.items()}


def interpreter_specs(interpreter: Interpreter) -> list[TensorSpec]:
    """The inputs of a TFLite file in real units: quantized ones as float32."""
    specs = []
    for name, index in zip(interpreter.input_names, interpreter.input_indices, strict=True):
        tensor = interpreter.graph.tensors[index]
        specs.append(signature.TensorSpec(name, tensor.shape, "float32" if tensor.scale else tensor.dtype))
    return specs


def open_reference(reference: Any, loading: LoadOptions, threads: int) -> Loaded | Interpreter | None:
    """Opens a reference that is given as in `tfopt.check`.

    Args:
        reference: None, a Keras model, or path or bytes.
        loading: how to load a model file.
        threads: of the interpreter of a TFLite file, at least 1.
    """
    if isinstance(reference, (bytes, bytearray)) or (isinstance(reference, (str, os.PathLike)) and is_tflite(reference)):
        return Interpreter(reference, threads=threads, probe=True, allow_large=loading.allow_large)
    if isinstance(reference, (str, os.PathLike)):
        return load_file(reference, loading)
    if reference is None:
        return None
    if not hasattr(reference, "layers"):
        raise ArgumentError(f"`reference` must be a Keras model or a path. Received: {type(reference).__name__}.")
    return Loaded(reference, ())


def bind_keras(model: keras.Model, interpreter: Interpreter) -> KerasReference:
    """Matches the inputs of a Keras model with the inputs of a file: by name, else in order, else by shape.

    Raises:
        DataError: the inputs do not match.
    """
    file_specs = interpreter_specs(interpreter)
    shapes = {} if signature.named_tensors(model, "inputs") else {spec.name: spec.shape for spec in file_specs}
    own = signature.input_specs(model, shapes)
    pairs = _pair({spec.name: spec.shape[1:] for spec in own}, {spec.name: spec.shape[1:] for spec in file_specs})
    samples = {pairs[spec.name]: tuple(size for size in spec.shape[1:] if size is not None) for spec in file_specs}
    return KerasReference(model, signature.fix_sizes(own, interpreter.batch_size, samples), pairs)


def run_keras(reference: KerasReference, interpreter: Interpreter) -> Reference:
    """A Keras model as the function whose outputs are right for a file."""
    outputs = signature.output_names(reference.model)
    traced = reference.traced

    def run(arrays: Batch) -> Sequence[npt.NDArray[np.generic]]:
        found = traced(reference.batch_of_model(arrays))
        if outputs is None or set(outputs) != set(interpreter.output_names):
            return found
        return [found[outputs.index(name)] for name in interpreter.output_names]

    return run


def run_tflite(other: Interpreter, interpreter: Interpreter) -> Reference:
    """Another TFLite file as the function whose outputs are right for a file."""
    shapes = [{spec.name: spec.shape[1:] for spec in interpreter_specs(each)} for each in (other, interpreter)]
    pairs = _pair(*shapes)
    same = set(other.output_names) == set(interpreter.output_names)

    def run(arrays: Batch) -> Sequence[npt.NDArray[np.generic]]:
        try:
            outputs = other.run({pairs[name]: array for name, array in arrays.items()})
        except RunError as error:  # no verdict on the file
            raise ConversionError(f"The reference must run on the data. {error}") from error
        return [outputs[other.output_names.index(name)] for name in interpreter.output_names] if same else outputs

    return run


def _pair(reference: Mapping[str, Sequence[int | None]], file: Mapping[str, Sequence[int | None]]) -> dict[str, str]:
    """{input of the file: input of the reference}, given {name: shape of a sample}: by name, else in order, else by shape."""
    if len(reference) != len(file):
        raise DataError(f"The reference must have as many inputs as the file, {len(file)}. Received: {len(reference)}.")
    if set(reference) == set(file):
        return {name: name for name in file}

    def fits(own: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
        return len(own) == len(wanted) and all(size in (None, other) for size, other in zip(own, wanted, strict=True))

    if all(fits(own, wanted) for own, wanted in zip(reference.values(), file.values(), strict=True)):
        return dict(zip(file, reference, strict=True))
    pairs = {name: [own for own, shape in reference.items() if fits(shape, wanted)] for name, wanted in file.items()}
    if any(len(found) != 1 for found in pairs.values()) or len({found[0] for found in pairs.values()}) != len(file):
        raise DataError(f"The inputs of the reference must be those of the file, {file}. Received: {reference}.")
    return {name: found[0] for name, found in pairs.items()}
