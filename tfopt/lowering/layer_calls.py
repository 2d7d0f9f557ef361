"""One traced function that returns the output of every layer call of a Keras model: the float side of `check --layers`."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfopt.data.signature import TensorSpec
from tfopt.keras_model.walk import short_names
from tfopt.lowering import layer_scopes
from tfopt.lowering.layer_scopes import Watched
from tfopt.lowering.trace import Traced, output_names, trace_model
from tfopt.tflite.layer_names import NO_SCOPES, Scopes

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
        scopes: the name scopes of the call in the traced graph, such as "functional_1/dense_1".
    """

    name: str
    class_name: str
    number: int
    scopes: tuple[str, ...] = ()


def trace_layer_calls(model: AnyModel, specs: Sequence[TensorSpec]) -> tuple[list[LayerCall], Traced]:
    """Traces a model so that it returns the output of each of its layer calls.

    Left out: calls inside loops (the cell of an RNN), which have no single output; layers that return several tensors, or tensors
    of integers; and layers that return their very input (Dropout). In a quantization-aware model the output of a layer is the
    rounded one, as in the file.

    Example:

    ```python
    calls, traced = trace_layer_calls(model, specs)
    outputs = dict(zip(calls, traced({"image": images[:1]}), strict=True))
    ```

    Args:
        model: of either Keras generation.
        specs: its inputs, without open sizes.

    Returns:
        (calls in the order of computation, function that returns their outputs in this order, with the scopes of all layers).

    Raises:
        ConversionError: the model does not run on such inputs.
    """
    stand_in = _StandIn(model)
    traced = trace_model(stand_in, specs)
    return stand_in.calls, dataclasses.replace(traced, scopes=stand_in.scopes)


class _StandIn:
    """Stands for the model while it is traced; returns the recorded outputs."""

    def __init__(self, model: AnyModel) -> None:
        self._get_model = lambda: model  # which is none of the stand-in's own layers
        self.calls: list[LayerCall] = []
        self.scopes = NO_SCOPES

    def __getattr__(self, name: str) -> Any:
        # `trace_model` packs the inputs by these. Outputs must not be found, as they would be those of the model.
        if name in ("inputs", "input"):
            return getattr(self._get_model(), name)
        raise AttributeError(name)

    def __call__(self, inputs: Any, training: bool) -> list[tf.Tensor]:
        import tensorflow as tf

        graph = tf.nest.flatten(inputs)[0].graph
        with layer_scopes.watched(self._get_model()) as calls:
            results = tf.nest.flatten(self._get_model()(inputs, training=training))
        counts: collections.Counter[int] = collections.Counter()
        layers = short_names(self._get_model())
        found: list[tuple[LayerCall, tf.Tensor]] = []
        for call in calls:
            arguments = tf.nest.flatten(call.arguments)
            if hasattr(call.layer, "layers") or not _is_plain(call.result, graph) or any(call.result is each for each in arguments):
                continue
            before = _inner(call, found)
            if before is not None:
                own = found[before][0]
                found[before] = dataclasses.replace(own, scopes=(*own.scopes, call.scope)), call.result
            elif not isinstance(call.layer, _fake_quantize()):
                counts[id(call.layer)] += 1
                name = layers[id(call.layer)]
                found.append((LayerCall(name, _class_name(call.layer), counts[id(call.layer)], (call.scope,)), call.result))
        self.calls = [call for call, _ in found]
        plain = {call.scope: layers[id(call.layer)] for call in calls if not isinstance(call.layer, _fake_quantize())}
        names = output_names(self._get_model(), len(results))
        outputs = layer_scopes.scopes(calls, dict(zip(names, results, strict=True)), layers).outputs
        self.scopes = Scopes(plain | {scope: call.name for call in self.calls for scope in call.scopes}, outputs)
        return [output for _, output in found]


def _is_plain(result: Any, graph: tf.Graph) -> bool:
    """Whether a result is one float tensor of known shape, computed in `graph` itself."""
    import tensorflow as tf

    # A tensor made inside a loop or a branch belongs to the graph of that body.
    return isinstance(result, tf.Tensor) and result.dtype.is_floating and result.graph is graph and result.shape.is_fully_defined()


def _inner(call: Watched, found: Sequence[tuple[LayerCall, tf.Tensor]]) -> int | None:
    """The place of the call whose result `call` rounds, or returns as a wrapper of the same name does; None if there is none."""
    import tensorflow as tf

    is_rounding = isinstance(call.layer, _fake_quantize())
    for place, (other, output) in enumerate(found):
        if is_rounding and any(output is each for each in tf.nest.flatten(call.arguments)):
            return place
        if output is call.result and other.name == call.layer.name:
            return place
    return None


def _class_name(layer: AnyLayer) -> str:
    from tfopt.quantization.wrapper import QuantizeWrapper

    return type(layer.layer if isinstance(layer, QuantizeWrapper) else layer).__name__


def _fake_quantize() -> type[AnyLayer]:
    from tfopt.quantization.fake_quantize import FakeQuantize

    return FakeQuantize
