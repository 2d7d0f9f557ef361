"""`inspect()`: the contents of a model file."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfopt.checking.settings import InspectRequest
from tfopt.data import signature
from tfopt.files import PathLike
from tfopt.keras_model.walk import walk
from tfopt.keras_model.weights import walk_weights
from tfopt.loading.load import load_file
from tfopt.loading.options import Architecture, CustomObjects, LoadOptions
from tfopt.progress import Progress, progress_bar
from tfopt.reporting import report, summary
from tfopt.reporting.tables import Block, Summarized
from tfopt.reporting.units import byte_count, plural
from tfopt.tflite import op_audit
from tfopt.tflite.file import is_tflite
from tfopt.tflite.flatbuffer import Tensor
from tfopt.tflite.interpreter import Interpreter

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class End:
    """An input or output of a model: name, shape (None for open dimensions), dtype, and scale and zero point if it is quantized."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class LayerContents:
    """A layer of a Keras model.

    Attributes:
        name: its path, such as `encoder/block_0/att`; the name alone of a layer that hangs in the model itself.
        class_name: of the layer.
        parameters: number of values in its weights, without those of the layers inside it, which have lines of their own.
        dtype: the dtype in which it computes; "" if it has none.
        sparsity: fraction of zeros in these weights of rank 2 and more, in [0, 1]; None without such weights.
    """

    name: str
    class_name: str
    parameters: int
    dtype: str
    sparsity: float | None


@dataclasses.dataclass(frozen=True)
class TensorContents:
    """A tensor of a TFLite file, and the number of zeros in it if it is a weight of rank 2 or more."""

    name: str
    index: int
    role: str
    shape: tuple[int, ...]
    dtype: str
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    zeros: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Inspection(Summarized):
    """The contents of a model file. `print(result)` prints the table of the command line, and a notebook shows it.

    Attributes:
        format: "tflite", "keras", "tf_keras" or "saved_model".
        bytes: size of the file or folder in bytes.
        parameters: number of values in all weights.
        sparsity: fraction of zeros in weights of rank 2 and more (in a quantized weight, of integers that stand for zero); None
            without such weights.
        inputs: inputs in the model's order.
        outputs: outputs in the model's order.
        quantization: of a TFLite file: see `op_audit.Structure`.
        ops: of a TFLite file: op name -> count.
        tensors: of a TFLite file.
        float_ops: of a TFLite file with integer activations: ops that compute in float.
        partitions: of a TFLite file: number of runs of ops that the CPU delegate takes over; 1 is best.
        layers: of a Keras model, nested ones included.
        trainable_parameters: of a Keras model.
    """

    format: str
    bytes: int
    parameters: int
    sparsity: float | None
    inputs: tuple[End, ...]
    outputs: tuple[End, ...]
    quantization: str | None = None
    ops: dict[str, int] | None = None
    tensors: tuple[TensorContents, ...] = ()
    float_ops: tuple[op_audit.FloatOp, ...] = ()
    partitions: int | None = None
    layers: tuple[LayerContents, ...] = ()
    trainable_parameters: int | None = None

    def _summary(self) -> list[Block]:
        return list(summary.of_inspection(report.to_dict(self), "the file"))

    def __repr__(self) -> str:
        return f"Inspection({self.format}, {byte_count(self.bytes)}, {plural(self.parameters, 'parameter')})"


def inspect(
    path: PathLike,
    *,
    custom_objects: CustomObjects = None,
    architecture: Architecture = None,
    allow_unsafe: bool = False,
    allow_large: bool = False,
    verbose: bool = True,
) -> Inspection:
    """Lists the contents of a model file.

    Example:

    ```python
    found = tfopt.inspect("model.tflite")
    print(found)  # the table of the command line
    found.ops     # {"CONV_2D": 3, "FULLY_CONNECTED": 1, ...}
    ```

    Args:
        path: path of a `.tflite` file or of any model that `load` reads.
        custom_objects, architecture, allow_unsafe, allow_large: as for `load`.
        verbose: whether a progress bar is drawn on a terminal or in a notebook.

    Returns:
        The contents.

    Raises:
        LoadError: the file is missing, damaged or of another kind.
        ConversionError: the runtime lacks an op that a TFLite file uses.
        ArgumentError: an argument has a value that cannot be used.
    """
    options = LoadOptions(
        custom_objects=custom_objects, architecture=architecture, allow_unsafe=allow_unsafe, allow_large=allow_large
    )
    with progress_bar(verbose) as progress:
        return _run(pathlib.Path(path), options, progress)


def inspect_file(request: str, progress: Progress) -> dict[str, Any]:
    """Inspects a file in this process, which the command line starts as a child.

    Args:
        request: an `InspectRequest` as JSON.
        progress: called with {"stage"}.

    Returns:
        The contents as JSON types.
    """
    asked = InspectRequest.from_json(request)
    found: dict[str, Any] = report.to_dict(_run(pathlib.Path(asked.path), asked.loading, progress))
    return found


def _run(path: pathlib.Path, options: LoadOptions, progress: Progress) -> Inspection:
    progress({"stage": "inspect"})
    if path.suffix == ".tflite" or is_tflite(path):
        return _inspect_tflite(path, allow_large=options.allow_large)
    return _inspect_keras(path, load_file(path, options).model)


def _inspect_tflite(path: pathlib.Path, *, allow_large: bool) -> Inspection:
    interpreter = Interpreter(path, probe=True, allow_large=allow_large)
    found = op_audit.examine(interpreter)
    tensors = tuple(_contents(tensor, interpreter) for tensor in found.tensors)
    counted = [tensor for tensor in tensors if tensor.zeros is not None]
    total = sum(_size(tensor.shape) for tensor in counted)
    return Inspection(
        format="tflite",
        bytes=path.stat().st_size,
        parameters=sum(_size(tensor.shape) for tensor in tensors if tensor.role == "weight"),
        sparsity=sum(tensor.zeros or 0 for tensor in counted) / total if total else None,
        inputs=tuple(map(_end, found.inputs)),
        outputs=tuple(map(_end, found.outputs)),
        quantization=found.quantization,
        ops=found.ops,
        tensors=tensors,
        float_ops=found.float_ops,
        partitions=found.partitions,
    )


def _contents(tensor: Tensor, interpreter: Interpreter) -> TensorContents:
    zeros = None
    if tensor.role == "weight" and len(tensor.shape) >= 2:
        zero = tensor.zero_point[0] if tensor.zero_point else 0
        zeros = int(np.count_nonzero(interpreter.tensor(tensor.index) == zero))
    return TensorContents(
        tensor.name, tensor.index, tensor.role, tuple(tensor.shape), tensor.dtype, tuple(tensor.scale), tuple(tensor.zero_point),
        zeros,
    )  # fmt: skip


def _inspect_keras(path: pathlib.Path, model: keras.Model) -> Inspection:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    specs = signature.input_specs(model) if signature.named_tensors(model, "inputs") else []
    own: dict[int, list[Any]] = collections.defaultdict(list)
    for weight in walk_weights(model):
        own[id(weight.layers[-1])].append(weight.variable)
    outputs = zip(signature.output_names(model) or [], signature.named_tensors(model, "outputs"), strict=True)
    return Inspection(
        format="saved_model" if path.is_dir() else _generation(model),
        bytes=sum(file.stat().st_size for file in files),
        parameters=sum(_size(weight.shape) for weight in model.weights),
        sparsity=_sparsity(model.weights),
        inputs=tuple(End(spec.name, tuple(spec.shape), spec.dtype) for spec in specs),
        outputs=tuple(End(name, tuple(tensor.shape), str(getattr(tensor.dtype, "name", tensor.dtype))) for name, tensor in outputs),
        layers=tuple(
            LayerContents(
                name=place.path,
                class_name=type(place.layer).__name__,
                parameters=sum(_size(variable.shape) for variable in own[id(place.layer)]),
                dtype=str(getattr(place.layer, "compute_dtype", None) or ""),
                sparsity=_sparsity(own[id(place.layer)]),
            )
            for place in walk(model)
        ),
        trainable_parameters=sum(_size(weight.shape) for weight in model.trainable_weights),
    )


def _generation(model: keras.Model) -> str:
    """The package that made a model, "keras" or "tf_keras", also of a subclass."""
    roots = [each.__module__.partition(".")[0] for each in type(model).__mro__]
    return next(root for root in roots if root in ("keras", "tf_keras"))


def _sparsity(weights: Sequence[Any]) -> float | None:
    arrays = [np.asarray(weight) for weight in weights if len(weight.shape) >= 2]
    total = sum(array.size for array in arrays)
    return float(1 - sum(map(np.count_nonzero, arrays)) / total) if total else None


def _end(tensor: Tensor) -> End:
    return End(tensor.name, tuple(tensor.shape), tensor.dtype, tuple(tensor.scale), tuple(tensor.zero_point))


def _size(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= int(size)
    return count
