"""Which layers of a Keras 2 model tfmot can quantize, why not the others, and the rules by which it does."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from tfopt.keras2.tfmot_layers import is_model

if TYPE_CHECKING:
    import tf_keras

_NORMALIZATIONS = ("BatchNormalization", "SyncBatchNormalization")

# A BatchNormalization after one of these layers becomes part of it.
_FOLDING = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense")

# Activation functions that tfmot rounds in layers with weights, and in `Activation`.
_FUNCTIONS = ("linear", "relu", "sigmoid", "softmax", "swish", "tanh", "gelu")
_ALONE = (*_FUNCTIONS, "relu6")


@dataclasses.dataclass(frozen=True)
class Choice:
    """The layers of a model that tfmot quantizes."""

    layers: set[int]  # ids of the layers to quantize
    unknown: dict[tf_keras.layers.Layer, str]  # layer -> why tfmot cannot quantize it
    fed: set[int]  # ids of the models inside whose inputs are rounded already


def choose(model: tf_keras.Model, supports: Callable[[tf_keras.layers.Layer], bool], excluded: Collection[int]) -> Choice:
    """Which layers of a model tfmot can quantize; models inside it are left to another call.

    Args:
        model: a Sequential or Functional model whose layers are called in no other model.
        supports: whether tfmot knows the class of a layer.
        excluded: ids of layers that the caller left out.
    """
    makers, takers = _links(model)

    def folds(layer: tf_keras.layers.Layer) -> bool:
        before = makers.get(id(layer.inbound_nodes[0].keras_inputs[0]))
        return (
            before is not None
            and type(before).__name__ in _FOLDING
            and id(before) not in excluded
            and _function(before) == "linear"
            and len(layer.inbound_nodes) == len(before.inbound_nodes) == takers[before] == 1
        )

    def reason(layer: tf_keras.layers.Layer) -> str:
        kind = type(layer).__name__
        if kind in _NORMALIZATIONS:
            return "" if folds(layer) else "BatchNormalization that does not follow a Conv2D, DepthwiseConv2D or Dense"
        if not supports(layer) and kind != "SeparableConv2D":
            return kind
        known = _ALONE if kind == "Activation" else _FUNCTIONS
        return "" if _function(layer) in known else f"the activation {_function(layer)!r} of {kind}"

    layers = [layer for layer in model.layers if type(layer).__name__ != "InputLayer" and not is_model(layer)]
    unknown = {layer: why for layer in layers if (why := reason(layer))}
    chosen = {id(layer) for layer in layers if layer not in unknown and id(layer) not in excluded}
    fed = set()
    for layer in filter(is_model, model.layers):
        before = [makers.get(id(tensor)) for node in layer.inbound_nodes for tensor in node.keras_inputs]
        if before and all(id(each) in chosen or is_model(each) for each in before):
            fed.add(id(layer))
    return Choice(chosen, unknown, fed)


def scheme(default_8bit: Any, unknown: Collection[str]) -> Any:
    """The rules by which tfmot quantizes: its own, corrected where it would raise an error or leave a weight out.

    Args:
        default_8bit: tfmot's module of this name.
        unknown: names of layers that tfmot cannot quantize.

    Returns:
        A `QuantizeScheme` of tfmot.
    """

    class Registry(default_8bit.Default8BitQuantizeRegistry):
        def supports(self, layer: tf_keras.layers.Layer) -> bool:
            # tfmot also asks this of each layer before a rounded one, and may then raise an error for an unknown layer.
            return layer.name not in unknown and super().supports(layer)

    class Layout(default_8bit.Default8BitQuantizeLayoutTransform):
        def apply(self, model: tf_keras.Model, layer_quantize_map: dict[str, Any]) -> tuple[tf_keras.Model, dict[str, Any]]:
            model, plan = super().apply(model, layer_quantize_map)
            for layer in model.layers:
                options = plan.get(layer.name, {})
                if type(options.get("quantize_config")).__name__ == "NoOpQuantizeConfig" and Registry().supports(layer):
                    own = Registry().get_quantize_config(layer)
                    if getattr(own, "weight_attrs", None):  # before a ReLU tfmot leaves out the weights too, not only the output
                        own.activation_attrs = []
                        options["quantize_config"] = own
            return model, plan

    class Scheme(default_8bit.Default8BitQuantizeScheme):
        def get_layout_transformer(self) -> Layout:
            return Layout()

        def get_quantize_registry(self) -> Registry:
            return Registry()

    return Scheme()


def listed(reasons: Mapping[tf_keras.layers.Layer, str]) -> str:
    """The layers that tfmot cannot quantize by reason, in one line.

    Args:
        reasons: layer -> reason, as in `Choice.unknown`.
    """
    by_reason: dict[str, list[str]] = collections.defaultdict(list)
    for layer, reason in reasons.items():
        by_reason[reason].append(layer.name)
    return "; ".join(f"{reason} ({', '.join(names)})" for reason, names in by_reason.items())


def _links(
    model: tf_keras.Model,
) -> tuple[dict[int, tf_keras.layers.Layer], collections.Counter[tf_keras.layers.Layer]]:
    """(id of a tensor -> the layer that makes it, layer -> how often its tensors are taken)."""
    import tensorflow as tf

    nodes = [(layer, node) for layer in model.layers for node in layer.inbound_nodes]
    makers = {id(tensor): layer for layer, node in nodes for tensor in tf.nest.flatten(node.outputs)}
    taken = [*model.outputs, *(tensor for _, node in nodes for tensor in node.keras_inputs)]
    return makers, collections.Counter(makers.get(id(tensor)) for tensor in taken)


def _function(layer: tf_keras.layers.Layer) -> str:
    """The name by which tfmot knows the activation function of a layer."""
    function = getattr(layer, "activation", None)
    return "linear" if function is None else getattr(function, "__name__", type(function).__name__)
