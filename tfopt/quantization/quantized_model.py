"""`QuantizedModel`: the Functional model that `quantize_aware` returns, whose layers know what stands before and behind them."""

import keras

from tfopt.quantization import frozen  # noqa: F401 - registers its class, for models that are loaded
from tfopt.quantization.wrapper import QuantizeWrapper


@keras.saving.register_keras_serializable("tfopt")
class QuantizedModel(keras.Model):
    """A Functional model in which each `QuantizeWrapper` finds the layers that its `neighbours` name.

    Args:
        inputs, outputs, name: as those of a Functional `keras.Model`.
    """

    def __init__(self, inputs, outputs, name=None, **kwargs):
        super().__init__(inputs=inputs, outputs=outputs, name=name, **kwargs)
        layers = {layer.name: layer for layer in self.layers}
        for layer in self.layers:
            if isinstance(layer, QuantizeWrapper):
                layer.meet(layers)
