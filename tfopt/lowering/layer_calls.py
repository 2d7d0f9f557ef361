"""One traced function that returns the output of every layer call of a Keras model: the float side of `check --layers`."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tfopt.data.signature import TensorSpec
from tfopt.keras_model.patch import replaced_attributes
from tfopt.keras_model.walk import short_names, walk_layers
from tfopt.lowering.trace import Traced, trace_model

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.keras_model.types import AnyLayer, AnyModel


@dataclasses.dataclass(frozen=True)
class LayerCall:
    """One call of a layer that is no model itself.

    Attributes:
        name: of the layer; its path if another layer of the model has the same name.
        class_name: of the layer.
        number: 1 for the layer's first call; a shared layer has more.
    """

    name: str
    class_name: str
    number: int


def trace_layer_calls(model: AnyModel, specs: Sequence[TensorSpec]) -> tuple[list[LayerCall], Traced]:
    """Traces a model so that it returns the output of each of its layer calls.

    Left out: calls inside loops (the cell of an RNN), which have no single output; layers that return several tensors, or tensors
    of integers; and layers that return their very input (Dropout).

    Example:

    ```python
    calls, traced = trace_layer_calls(model, specs)
    outputs = dict(zip(calls, traced({"image": images[:1]}), strict=True))
    ```

    Args:
        model: of either Keras generation.
        specs: its inputs, without open sizes.

    Returns:
        (calls in the order of computation, function that returns their outputs in this order).

    Raises:
        ConversionError: the model does not run on such inputs.
    """
    watched = _Watched(model)
    traced = trace_model(watched, specs)
    return watched.calls, traced


class _Watched:
    """Stands for the model while it is traced; returns the recorded outputs."""

    def __init__(self, model: AnyModel) -> None:
        self._model = model
        self.calls: list[LayerCall] = []

    def __getattr__(self, name: str) -> Any:
        # `trace_model` packs the inputs by these. Outputs must not be found, as they would be those of the model.
        if name in ("inputs", "input"):
            return getattr(self._model, name)
        raise AttributeError(name)

    def __call__(self, inputs: Any, training: bool) -> list[tf.Tensor]:
        import tensorflow as tf

        graph = tf.nest.flatten(inputs)[0].graph
        outputs: list[tf.Tensor] = []
        counts: collections.Counter[int] = collections.Counter()
        names = short_names(self._model)
        self.calls = []

        def watch(layer: AnyLayer) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                result = type(layer).call(layer, *arguments, **options)
                if _is_plain(result, graph) and not any(result is each for each in tf.nest.flatten((arguments, options))):
                    counts[id(layer)] += 1
                    self.calls.append(LayerCall(names[id(layer)], type(layer).__name__, counts[id(layer)]))
                    outputs.append(result)
                return result

            return call

        # A `call` that is an attribute, as in the layers that Keras 2 makes of bare TensorFlow functions, cannot be replaced.
        layers = [layer for layer in walk_layers(self._model) if not hasattr(layer, "layers") and "call" not in vars(layer)]
        with replaced_attributes({layer: {"call": watch(layer)} for layer in layers}):
            self._model(inputs, training=training)
        return outputs


def _is_plain(result: Any, graph: tf.Graph) -> bool:
    """Whether a result is one float tensor of known shape, computed in `graph` itself."""
    import tensorflow as tf

    # A tensor made inside a loop or a branch belongs to the graph of that body.
    return isinstance(result, tf.Tensor) and result.dtype.is_floating and result.graph is graph and result.shape.is_fully_defined()
