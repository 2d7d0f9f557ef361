"""`QuantizedModel`: the Functional model that `quantize_aware` returns, whose layers know the layers before and after them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from tfopt.quantization import frozen  # noqa: F401 - registers its class, for models that are loaded
from tfopt.quantization.wrapper import QuantizeWrapper

if TYPE_CHECKING:
    from tfopt.quantization.simulation import Tensors


@keras.saving.register_keras_serializable("tfopt")
class QuantizedModel(keras.Model):
    """A Functional model in which each `QuantizeWrapper` finds the layers that its `neighbors` name.

    Its outputs have the names that they have in the model that it was made of (`output_names`), also after saving and loading.

    Args:
        inputs, outputs: as those of a Functional `keras.Model`, a `keras.KerasTensor` or a structure of them.
        name: the model's name; by default Keras chooses one.
    """

    def __init__(self, inputs: Tensors, outputs: Tensors, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(inputs=inputs, outputs=outputs, name=name, **kwargs)
        layers = {layer.name: layer for layer in self.layers}
        for layer in self.layers:
            if isinstance(layer, QuantizeWrapper):
                layer.find_neighbors(layers)

    def get_config(self) -> dict[str, Any]:
        """The configuration of a Functional model, and the names of the outputs."""
        return {**super().get_config(), "output_names": list(self.output_names)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> QuantizedModel:
        """Makes a model from what `get_config` returned; files of earlier versions lack the names of the outputs."""
        names = config.get("output_names")
        plain = {name: value for name, value in config.items() if name != "output_names"}
        model: QuantizedModel = super().from_config(plain, custom_objects)
        model.output_names = names or model.output_names
        return model
