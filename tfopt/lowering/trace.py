"""A model as one TensorFlow function of fixed shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfopt.data import signature
from tfopt.data.signature import TensorSpec
from tfopt.errors import ConversionError, TfoptError
from tfopt.keras_model.describe import told_by
from tfopt.keras_model.walk import short_names
from tfopt.lowering import layer_scopes, lower
from tfopt.tflite.layer_names import NO_SCOPES, LayerNames, Scopes

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.keras_model.types import AnyModel

_MOVES = ("ExpandDims", "Identity", "Reshape", "Squeeze", "StridedSlice")
"""Operations that give or drop shapes and columns, and compute nothing."""


@dataclasses.dataclass(frozen=True)
class Traced:
    """A model as one TensorFlow function of fixed shapes.

    Attributes:
        function: takes the inputs and returns a list of the outputs, both in the model's order.
        module: holds the variables of the function, which cannot run without it.
        inputs: in the model's order, of fixed sizes.
        output_names: in the model's order.
        keeps_functions: whether the converter must see functions whole: see `lower.Lowering`.
        layers: type of a TensorFlow operation -> names of the layers that compute by it.
        scopes: of the layers in the graph of the function.
    """

    function: tf.types.experimental.ConcreteFunction
    module: tf.Module
    inputs: list[TensorSpec]
    output_names: list[str]
    keeps_functions: bool = False
    layers: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    scopes: Scopes = NO_SCOPES

    @property
    def batch_size(self) -> int:
        """Samples in a run."""
        size = self.inputs[0].shape[0]
        assert size is not None  # the sizes are fixed
        return size

    def __call__(self, arrays: Mapping[str, npt.ArrayLike]) -> list[npt.NDArray[Any]]:
        """Runs the function on one batch, arrays by input name, and returns one array for each output."""
        import tensorflow as tf

        outputs = self.function(*(tf.constant(np.asarray(arrays[spec.name]).astype(spec.dtype)) for spec in self.inputs))
        return [output.numpy() for output in outputs]


def trace_model(model: AnyModel, inputs: Sequence[TensorSpec], lowering: lower.Lowering = lower.NOTHING) -> Traced:
    """Traces a model for inference.

    Example:

    ```python
    traced = trace_model(model, signature.fix_sizes(signature.input_specs(model), 1), lower.plan(model))
    (scores,) = traced({"image": images[:1]})
    ```

    Args:
        model: of either Keras generation.
        inputs: without open sizes.
        lowering: how its layers are rewritten.

    Raises:
        ConversionError: the model does not run on such inputs.
    """
    import tensorflow as tf

    names: list[str] = []
    scopes: list[Scopes] = []
    layers = short_names(model)

    def compute(*tensors: tf.Tensor) -> list[tf.Tensor]:
        # Here, as TensorFlow may trace again when it saves.
        with lowering.active(), layer_scopes.watched(model, lowering.replacements) as calls:
            outputs = tf.nest.flatten(model(_pack(model, inputs, list(tensors)), training=False))
        names[:] = output_names(model, len(outputs))
        scopes[:] = [layer_scopes.scopes(calls, dict(zip(names, outputs, strict=True)), layers)]
        # A list, as TensorFlow would sort a dict by name and lose the model's order.
        return [tf.identity(output) for output in outputs]

    try:
        module, function = _trace(compute, inputs)
    except TfoptError:
        raise
    except Exception as error:  # the model's own code may raise anything
        raise ConversionError(
            f"The model must run on the inputs {', '.join(map(str, inputs))}. Received: {type(error).__name__}, {told_by(error)} "
            "Call it on such an input to see where it fails."
        ) from error
    # A module saves its attributes, and Keras 3 variables are no attributes of it. The layers that the lowering brings must not be
    # among them: TensorFlow would trace a Keras 2 layer several times to save it. The replacements keep them alive.
    variables = list(function.variables)
    if lowering.operations.applies(function):
        plain = function
        module, function = _trace(lambda *tensors: lowering.operations.outputs(plain, tensors, scopes[0]), inputs)
    module.held = variables
    return Traced(function, module, list(inputs), list(names), lowering.keeps_functions, _users(function, scopes[0]), scopes[0])


def output_names(model: AnyModel, count: int) -> list[str]:
    """The names of the `count` outputs of a model in its own order; numbered where the model has none."""
    return signature.output_names(model) or [f"output_{index}" for index in range(count)]


def _users(function: tf.types.experimental.ConcreteFunction, scopes: Scopes) -> dict[str, tuple[str, ...]]:
    """Type of an operation -> names of the layers that compute by it."""
    operations = function.graph.get_operations()
    names = LayerNames(set(scopes.layers.values()), [operation.name for operation in operations], scopes)
    found: dict[str, dict[str, None]] = {}
    for operation in operations:
        writer = names.writer(operation.name)
        if writer:
            found.setdefault(operation.type, {})[writer] = None
    return {kind: tuple(writers) for kind, writers in found.items()}


def _trace(
    compute: Callable[..., list[tf.Tensor]], inputs: Sequence[TensorSpec]
) -> tuple[tf.Module, tf.types.experimental.ConcreteFunction]:
    """A module that serves `compute`, and its traced function."""
    import tensorflow as tf

    # TensorFlow refuses some names that Keras allows; `attach_signature` puts the right ones into the file.
    signatures = [tf.TensorSpec(spec.shape, spec.dtype, name=f"input_{index}") for index, spec in enumerate(inputs)]
    module = tf.Module()
    module.serve = tf.function(compute, input_signature=signatures, autograph=False)
    return module, module.serve.get_concrete_function()


def float_ids(traced: Traced) -> list[str]:
    """Names of float inputs that the model takes as integers, as ids of old Keras 2 files: int8 could not tell them apart."""

    def makes_integers(operation: tf.Operation) -> bool:
        return operation.type == "Cast" and operation.outputs[0].dtype.is_integer

    def compares(operation: tf.Operation) -> bool:  # as the mask of ids does
        differs = operation.type in ("Sub", "SubV2") and all(each.type == "Abs" for each in operation.outputs[0].consumers())
        return differs or operation.type in ("Equal", "Greater", "Less", "NotEqual")

    def readers(tensor: tf.Tensor) -> Iterator[tf.Operation]:
        for reader in tensor.consumers():
            if reader.type in _MOVES:
                yield from readers(reader.outputs[0])
            else:
                yield reader

    def takes_ids(operations: Sequence[tf.Operation]) -> bool:
        return any(map(makes_integers, operations)) and all(makes_integers(each) or compares(each) for each in operations)

    return [
        spec.name
        for spec, tensor in zip(traced.inputs, traced.function.inputs, strict=False)
        if spec.dtype == "float32" and takes_ids(list(readers(tensor)))
    ]


def _pack(model: AnyModel, inputs: Sequence[TensorSpec], tensors: list[tf.Tensor]) -> Any:
    """Tensors in the structure in which the model takes its inputs."""
    import tensorflow as tf

    if not signature.named_tensors(model, "inputs"):
        return tensors[0] if len(tensors) == 1 else dict(zip((spec.name for spec in inputs), tensors, strict=True))
    structure = getattr(model, "input", None)  # a Sequential model that was never called has none
    if structure is not None:
        return tf.nest.pack_sequence_as(structure, tensors)
    return tensors[0] if len(tensors) == 1 else tensors
