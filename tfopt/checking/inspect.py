"""`inspect()`: what is in a model file."""

import pathlib

import numpy as np

from tfopt.data import signature
from tfopt.keras_model.walk import walk_layers
from tfopt.loading.load import load
from tfopt.reporting import report
from tfopt.tflite import op_audit
from tfopt.tflite.file import is_tflite
from tfopt.tflite.interpreter import Interpreter


def inspect(path, *, custom_objects=None, architecture=None, allow_unsafe=False):
    """Lists what a model file holds.

    Example:

    ```python
    tfopt.inspect("model.tflite")["ops"]      # {"CONV_2D": 3, "FULLY_CONNECTED": 1, ...}
    ```

    Args:
        path: str or path of a `.tflite` file or of any model that `load` reads.
        custom_objects, architecture, allow_unsafe: as for `load`.

    Returns:
        dict of JSON types. For TFLite: "format", "bytes", "quantization", "inputs", "outputs", "ops", "tensors" (name, role,
        shape, dtype, scale, zero point, and of weights of rank 2 and more "zeros"), "float_ops", "partitions", "parameters",
        "sparsity". For Keras: "format", "bytes", "inputs", "outputs", "layers" (name, class, parameters, dtype, "sparsity"),
        "parameters", "trainable_parameters", "sparsity". A sparsity is the fraction of zeros in weights of rank 2 and more, as
        integers those that stand for zero; None where there are no such weights.

    Raises:
        LoadError: the file is missing, damaged or of another kind.
    """
    path = pathlib.Path(path)
    if path.suffix == ".tflite" or is_tflite(path):
        return _inspect_tflite(path)
    return _inspect_keras(path, load(path, custom_objects=custom_objects, architecture=architecture, allow_unsafe=allow_unsafe))


def inspect_file(request, progress):
    """`inspect` for a child process: takes its arguments as a dict."""
    progress({"stage": "inspect"})
    return inspect(**request)


def _inspect_tflite(path):
    interpreter = Interpreter(path)
    found = op_audit.examine(interpreter)
    content = report.to_dict(found)
    zeros, total = 0, 0
    for entry, tensor in zip(content["tensors"], found.tensors, strict=True):
        if tensor.role == "weight" and len(tensor.shape) >= 2:
            zero = tensor.zero_point[0] if tensor.zero_point else 0
            entry["zeros"] = int(np.count_nonzero(interpreter.tensor(tensor.index) == zero))
            zeros, total = zeros + entry["zeros"], total + _size(tensor.shape)
    weights = [tensor for tensor in found.tensors if tensor.role == "weight"]
    return {
        "format": "tflite",
        "bytes": path.stat().st_size,
        "inputs": [_described(tensor.name, tensor.shape, tensor.dtype, tensor) for tensor in found.inputs],
        "outputs": [_described(tensor.name, tensor.shape, tensor.dtype, tensor) for tensor in found.outputs],
        "parameters": sum(_size(tensor.shape) for tensor in weights),
        "sparsity": zeros / total if total else None,
        **content,
    }


def _inspect_keras(path, model):
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    specs = signature.input_specs(model) if signature.named_tensors(model, "inputs") else []
    outputs = signature.named_tensors(model, "outputs")
    names = signature.output_names(model) or []
    return {
        "format": "saved_model" if path.is_dir() else type(model).__module__.partition(".")[0],
        "bytes": sum(file.stat().st_size for file in files),
        "inputs": [_described(spec.name, spec.shape, spec.dtype) for spec in specs],
        "outputs": [
            _described(name, tuple(tensor.shape), getattr(tensor.dtype, "name", tensor.dtype))
            for name, tensor in zip(names, outputs, strict=True)
        ],
        "layers": [
            {
                "name": layer.name,
                "class": type(layer).__name__,
                "parameters": sum(_size(weight.shape) for weight in layer.weights),
                "dtype": str(getattr(layer, "compute_dtype", None) or ""),
                "sparsity": _sparsity(layer.weights),
            }
            for layer in walk_layers(model)
        ],
        "parameters": sum(_size(weight.shape) for weight in model.weights),
        "trainable_parameters": sum(_size(weight.shape) for weight in model.trainable_weights),
        "sparsity": _sparsity(model.weights),
    }


def _sparsity(weights):
    arrays = [np.asarray(weight) for weight in weights if len(weight.shape) >= 2]
    total = sum(array.size for array in arrays)
    return float(1 - sum(map(np.count_nonzero, arrays)) / total) if total else None


def _described(name, shape, dtype, tensor=None):
    entry = {"name": name, "shape": list(shape), "dtype": dtype}
    if tensor is not None and tensor.scale:
        entry |= {"scale": list(tensor.scale), "zero_point": list(tensor.zero_point)}
    return entry


def _size(shape):
    count = 1
    for size in shape:
        count *= int(size)
    return count
