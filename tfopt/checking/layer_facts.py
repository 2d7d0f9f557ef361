"""What is known about a file, its layers and its tensors when a cause of error is looked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from tfopt.keras_model.walk import short_names, walk_layers
from tfopt.lowering.input_scaling import find_input_scaling

if TYPE_CHECKING:
    import keras

    from tfopt.checking.layer_numbers import LayerNumbers, Range
    from tfopt.tflite.flatbuffer import Graph
    from tfopt.tflite.op_audit import FloatOp

Kind = Literal[
    "calibration-scaling", "calibration-narrow", "calibration-wide", "outlier-channel", "concat-ranges", "activation-tail",
    "unfolded-batchnorm", "fixed-range", "mixed-units", "float-island", "lossy-layer",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Cause:
    """Why a file is less exact than it could be.

    Attributes:
        kind: a name that never changes: "calibration-scaling", "calibration-narrow", "calibration-wide", "outlier-channel",
            "concat-ranges", "activation-tail", "unfolded-batchnorm", "fixed-range", "mixed-units", "float-island" or
            "lossy-layer".
        layer: the Keras layer (or input) that has it, the worst if several do; "" if no name tells.
        what: one sentence with figures.
        remedy: one sentence that says what to do.
        others: further layers with the same cause, worst first.
    """

    kind: Kind
    layer: str
    what: str
    remedy: str
    others: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """What is known about the layers of a Keras model.

    Attributes:
        scaling: the `Rescaling` or `Normalization` layer that the model begins with, or None.
        classes: class name by layer name.
        activations: name of the activation function by layer name; "" for a layer without one.
    """

    scaling: keras.Layer | None
    classes: dict[str, str]
    activations: dict[str, str]


def of_model(model: keras.Model) -> ModelFacts:
    """The facts about a Keras 3 or Keras 2 model."""
    layers, names = list(walk_layers(model)), short_names(model)
    return ModelFacts(
        scaling=find_input_scaling(model),
        classes={names[id(layer)]: type(layer).__name__ for layer in layers},
        activations={names[id(layer)]: getattr(getattr(layer, "activation", None), "__name__", "") for layer in layers},
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What the causes are found in.

    Attributes:
        model: of the Keras model that the file was made of.
        graph: of the file.
        float_ops: of the file.
        numbers: of each layer, in the order of computation, inputs first.
        ranges: range seen by tensor index.
        mention: a function from a tensor's name to the layers that it mentions.
        samples: number of samples that were looked at.
    """

    model: ModelFacts
    graph: Graph
    float_ops: tuple[FloatOp, ...]
    numbers: tuple[LayerNumbers, ...]
    ranges: dict[int, Range]
    mention: Callable[[str], list[str]]
    samples: int

    def writer(self, index: int) -> str:
        """Name of the op that writes a tensor; "" for inputs."""
        return next((operator.name for operator in self.graph.operators if index in operator.outputs), "")
