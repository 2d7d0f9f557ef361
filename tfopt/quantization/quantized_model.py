"""`QuantizedModel`: the Functional model that `quantize_aware` returns; it is saved as a recipe and made again from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras

from tfopt.keras_model.walk import walk_layers
from tfopt.quantization import frozen  # noqa: F401 - registers its class, for models that are loaded
from tfopt.quantization.in_graph import InGraph
from tfopt.quantization.observing import is_observing

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.quantization.fake_quantize import Range
    from tfopt.quantization.inside.simulation import Tensors


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a quantization-aware model is made of a plain one.

    Attributes:
        model: configuration of the plain model, as Keras saves it.
        options: `weight_bits`, `activation_bits`, `ranges`, and `freeze_batch_normalization`.
        left_out: numbers of the layers of the plain model that stay float, in the order of `walk`.
        limits: number of a quantizer, in the order in which they are made -> the range that it keeps.
        sources: the weights of the quantization-aware model that stand for those of the plain one, in its order; None for a weight
            that no call reaches. They are not saved.
        objects: classes and functions of the plain model by name, for use in this process. They are not saved.
    """

    model: dict[str, Any]
    options: dict[str, Any]
    left_out: tuple[int, ...]
    limits: dict[int, Range]
    sources: Sequence[keras.Variable | None] = ()
    objects: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_config(self) -> dict[str, Any]:
        """What is saved, as JSON has it."""
        limits = [[number, *ends] for number, ends in self.limits.items()]
        return {"model": self.model, "options": self.options, "left_out": list(self.left_out), "limits": limits}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Recipe:
        """The recipe that `to_config` returned."""
        limits = {int(number): (float(low), float(high)) for number, low, high in config["limits"]}
        return cls(config["model"], dict(config["options"]), tuple(config["left_out"]), limits)


@keras.saving.register_keras_serializable("tfopt")
class QuantizedModel(keras.Model):
    """A Functional model whose outputs have the names that they have in the model that it was made of (`output_names`).

    They keep the names after saving and loading.

    Args:
        inputs, outputs: as those of a Functional `keras.Model`, a `keras.KerasTensor` or a structure of them.
        name: the model's name; by default Keras chooses one.

    Attributes:
        recipe: how the model is made again; None for a model inside another one, and where a layer of the plain model cannot be
            saved with the model around it. Such a model is saved layer by layer.
    """

    recipe: Recipe | None

    def __init__(self, inputs: Tensors, outputs: Tensors, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(inputs=inputs, outputs=outputs, name=name, **kwargs)
        self.recipe = None
        self._in_graph = InGraph()

    def call(self, inputs: Tensors, training: bool | None = None, mask: Tensors = None, **kwargs: Any) -> Tensors:
        """The outputs; those outside of training are rounded as in the file, also if they are computed outside of a graph."""
        import tensorflow as tf

        if training or is_observing() or not tf.executing_eagerly():
            return super().call(inputs, training=training, mask=mask, **kwargs)

        def compute(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensors, list[tf.Tensor]]:
            with keras.StatelessScope(collect_losses=True) as scope:
                outputs = super(QuantizedModel, self).call(*args, training=training, **kwargs)
            return outputs, list(scope.losses)

        outputs, losses = self._in_graph(compute, (inputs,), {"mask": mask, **kwargs}, training)
        for loss in losses:
            self.add_loss(loss)
        return outputs

    def get_config(self) -> dict[str, Any]:
        """The recipe, or the configuration of a Functional model; the names of the outputs, and the layers that do not train."""
        names = list(self.output_names)
        if self.recipe is None:
            return {**super().get_config(), "output_names": names}
        frozen_layers = [number for number, layer in enumerate(walk_layers(self)) if not layer.trainable]
        return {"name": self.name, "recipe": self.recipe.to_config(), "frozen": frozen_layers, "output_names": names}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> keras.Model:
        """The model again, with new weights; files of earlier versions lack the names of the outputs."""
        names = config.get("output_names")
        if "recipe" not in config:
            plain = {name: value for name, value in config.items() if name != "output_names"}
            made = super().from_config(plain, custom_objects=custom_objects)
        else:
            from tfopt.quantization.placement import remake  # which makes models of this class

            made = remake(Recipe.from_config(config["recipe"]), custom_objects)
            for number, layer in enumerate(walk_layers(made)):
                layer.trainable = number not in config["frozen"]
        made.output_names = names or made.output_names
        return made
