"""What tfmot, which quantizes Keras 2 models, can quantize, and what it made of one. It is not imported here."""

import collections
import dataclasses
import re

from tfopt.keras2.quantizers import is_model

_NORMALIZATIONS = ("BatchNormalization", "SyncBatchNormalization")


# A BatchNormalization behind these becomes part of them.
_FOLDING = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense")


# Activation functions that tfmot rounds: those of layers with weights, and those of `Activation`.
_FUNCTIONS = ("linear", "relu", "sigmoid", "softmax", "swish", "tanh", "gelu")


_ALONE = (*_FUNCTIONS, "relu6")


@dataclasses.dataclass(frozen=True)
class Choice:
    """What tfmot is to do with a model."""

    layers: set  # ids of those to be rounded
    unknown: dict  # layer -> str, why tfmot cannot
    fed: set  # ids of models inside that take what is rounded already


def choose(model, supports, excluded):
    """Which layers of a model tfmot can quantize; models inside it are left to another call.

    Args:
        model: a tf_keras Sequential or functional model whose layers are called nowhere else.
        supports: function from a layer to bool, whether tfmot knows its class.
        excluded: set of ids of layers that are not asked for.

    Returns:
        A `Choice`.
    """
    makers, takers = _links(model)

    def folds(layer):
        before = makers.get(id(layer.inbound_nodes[0].keras_inputs[0]))
        return (
            type(before).__name__ in _FOLDING
            and id(before) not in excluded
            and _function(before) == "linear"
            and len(layer.inbound_nodes) == len(before.inbound_nodes) == takers[before] == 1
        )

    def reason(layer):
        kind = type(layer).__name__
        if kind in _NORMALIZATIONS:
            return "" if folds(layer) else "BatchNormalization that is no part of a Conv2D, DepthwiseConv2D or Dense before it"
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


def scheme(default_8bit, unknown):
    """How tfmot is to quantize: as it does, but for what it refuses or forgets.

    Args:
        default_8bit: tfmot's module of this name.
        unknown: set of names of layers that it cannot quantize.

    Returns:
        A `QuantizeScheme` of tfmot.
    """

    class Registry(default_8bit.Default8BitQuantizeRegistry):
        def supports(self, layer):
            # It is asked for each layer before one that is rounded, too, and its answer may then be an error.
            return layer.name not in unknown and super().supports(layer)

    class Layout(default_8bit.Default8BitQuantizeLayoutTransform):
        def apply(self, model, layer_quantize_map):
            model, plan = super().apply(model, layer_quantize_map)
            for layer in model.layers:
                options = plan.get(layer.name, {})
                if type(options.get("quantize_config")).__name__ == "NoOpQuantizeConfig" and Registry().supports(layer):
                    own = Registry().get_quantize_config(layer)
                    if getattr(own, "weight_attrs", None):  # before a ReLU it forgets the weights with the output
                        own.activation_attrs = []
                        options["quantize_config"] = own
            return model, plan

    class Scheme(default_8bit.Default8BitQuantizeScheme):
        def get_layout_transformer(self):
            return Layout()

        def get_quantize_registry(self):
            return Registry()

    return Scheme()


def number(name, layers):
    """The highest number that an automatic name has among layers: 2 for `conv2d_2`, 0 for `conv2d`, else -1."""
    found = (re.fullmatch(rf"{name}(?:_(\d+))?", layer.name) for layer in layers)
    return max((int(match[1] or 0) for match in found if match), default=-1)


def listed(reasons):
    """Layers by the reason why tfmot cannot quantize them, in one line.

    Args:
        reasons: dict of layer -> str, as from `choose`.
    """
    by_reason = collections.defaultdict(list)
    for layer, reason in reasons.items():
        by_reason[reason].append(layer.name)
    return "; ".join(f"{reason} ({', '.join(names)})" for reason, names in by_reason.items())


def _links(model):
    """(dict of id of a tensor -> the layer that makes it, how often the tensors of each layer are taken)."""
    import tensorflow as tf

    nodes = [(layer, node) for layer in model.layers for node in layer.inbound_nodes]
    makers = {id(tensor): layer for layer, node in nodes for tensor in tf.nest.flatten(node.outputs)}
    taken = [*model.outputs, *(tensor for _, node in nodes for tensor in node.keras_inputs)]
    return makers, collections.Counter(makers.get(id(tensor)) for tensor in taken)


def _function(layer):
    """The name by which tfmot knows the activation function of a layer."""
    function = getattr(layer, "activation", None)
    return "linear" if function is None else getattr(function, "__name__", type(function).__name__)
