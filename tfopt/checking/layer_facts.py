"""What is known about the tensors of a layer when a cause of error is looked for."""

import dataclasses

from tfopt.keras_model.input_scaling import find_input_scaling
from tfopt.keras_model.walk import walk_layers


@dataclasses.dataclass(frozen=True)
class Cause:
    """Why a file is less exact than it could be.

    Attributes:
        kind: str that never changes: "calibration-scaling", "calibration-narrow", "calibration-wide", "outlier-channel",
            "concat-ranges", "activation-tail", "unfolded-batchnorm" or "float-island".
        layer: str, the Keras layer (or input) that has it, the worst if several do; "" where no name tells.
        what: str, one sentence with figures.
        remedy: str, one sentence of what to do.
        others: tuple of str, further layers with the same cause, worst first.
    """

    kind: str
    layer: str
    what: str
    remedy: str
    others: tuple = ()


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the causes are found in.

    Attributes:
        scaling: the `Rescaling` or `Normalization` layer that the model begins with, or None.
        classes: dict of layer name -> class name.
        activations: dict of layer name -> name of its activation function.
        graph: `flatbuffer.Graph`.
        float_ops: tuple of `structure.FloatOp`.
        numbers: tuple of `LayerNumbers`, in the order of computation, inputs first.
        ranges: dict of tensor index -> (low, high) seen, in real units.
        mention: function from a tensor's name to the layers that it mentions.
        samples: int, how many were looked at.
    """

    scaling: object
    classes: dict
    activations: dict
    graph: object
    float_ops: tuple
    numbers: tuple
    ranges: dict
    mention: object
    samples: int

    def writer(self, index):
        """Name of the op that writes a tensor; "" for inputs."""
        return next((operator.name for operator in self.graph.operators if index in operator.outputs), "")


def gather(model, graph, structure, numbers, ranges, mention, samples):
    """`Facts` about a file that was made of the Keras model `model`."""
    layers = list(walk_layers(model))
    activations = {layer.name: getattr(getattr(layer, "activation", None), "__name__", "") for layer in layers}
    classes = {layer.name: type(layer).__name__ for layer in layers}
    return Facts(find_input_scaling(model), classes, activations, graph, structure.float_ops, numbers, ranges, mention, samples)
