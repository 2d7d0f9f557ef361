"""A model as one TensorFlow function of fixed shapes."""

import dataclasses
import re

import numpy as np

from tfopt.data import signature
from tfopt.errors import ConversionError, TfoptError
from tfopt.lowering import lower


@dataclasses.dataclass(frozen=True)
class Traced:
    """A model as one TensorFlow function of fixed shapes.

    Attributes:
        function: `tf.types.experimental.ConcreteFunction`: the inputs in, a list of the outputs out, both in the model's order.
        module: the `tf.Module` that holds its variables; the function dies without it.
        inputs: list of `signature.TensorSpec`.
        output_names: list of str in the model's order.
        keeps_functions: bool, whether the converter must see functions whole: see `lower.Lowering`.
    """

    function: object
    module: object
    inputs: list
    output_names: list
    keeps_functions: bool = False

    def __call__(self, arrays):
        """Runs the function on one batch ({name: array}) and returns the outputs as a list of arrays."""
        import tensorflow as tf

        outputs = self.function(*(tf.constant(np.asarray(arrays[spec.name]).astype(spec.dtype)) for spec in self.inputs))
        return [output.numpy() for output in outputs]


def trace_model(model, inputs, lowering=lower.NOTHING):
    """Traces `model` for inference.

    Args:
        model: a Keras 3 or Keras 2 model.
        inputs: list of `signature.TensorSpec` without open sizes.
        lowering: `lower.Lowering`, how its layers are rewritten.

    Returns:
        A `Traced`.

    Raises:
        ConversionError: the model does not run on such inputs.
    """
    import tensorflow as tf

    names = []

    class Served(tf.Module):
        def __init__(self):
            super().__init__()
            self.serve = tf.function(self._serve, input_signature=signatures, autograph=False)

        def _serve(self, *tensors):
            with lowering.active():  # here, as TensorFlow traces again when it saves
                outputs = tf.nest.flatten(model(_pack(model, inputs, list(tensors)), training=False))
            names[:] = signature.output_names(model) or [f"output_{index}" for index in range(len(outputs))]
            # A list, as TensorFlow would sort a dict by name and lose the model's order.
            return [tf.identity(output) for output in outputs]

    # TensorFlow refuses some names that Keras allows; `attach_signature` puts the right ones into the file.
    signatures = [tf.TensorSpec(spec.shape, spec.dtype, name=f"input_{index}") for index, spec in enumerate(inputs)]
    module = Served()
    try:
        function = module.serve.get_concrete_function()
    except TfoptError:
        raise
    except Exception as error:  # whatever the model's own code raises
        text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())
        raise ConversionError(
            f"The model must run on the inputs {', '.join(map(str, inputs))}. Received: {type(error).__name__}: {text[:600]}. "
            "Call it on such an input to see where it fails."
        ) from error
    module.held = list(function.variables)  # a module saves what hangs on it, and Keras 3 variables do not by themselves
    module.layers = lowering.keeps
    return Traced(function, module, list(inputs), list(names), lowering.keeps_functions)


def float_ids(traced):
    """Names of float inputs that the model takes as integers, as ids of old Keras 2 files: int8 could not tell them apart.

    Args:
        traced: a `Traced`.
    """
    return [
        spec.name
        for spec, tensor in zip(traced.inputs, traced.function.inputs, strict=False)
        if spec.dtype == "float32"
        and tensor.consumers()
        and all(each.type == "Cast" and each.outputs[0].dtype.is_integer for each in tensor.consumers())
    ]


def _pack(model, inputs, tensors):
    import tensorflow as tf

    if not signature.named_tensors(model, "inputs"):
        return tensors[0] if len(tensors) == 1 else dict(zip((spec.name for spec in inputs), tensors, strict=True))
    structure = getattr(model, "input", None)  # a Sequential model that was never called has none
    if structure is not None:
        return tf.nest.pack_sequence_as(structure, tensors)
    return tensors[0] if len(tensors) == 1 else tensors
